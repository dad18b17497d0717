"""What is studied: a model, its licensees, its pictures, and what is read of them."""
