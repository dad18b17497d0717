"""The parts of the attribution study: what is made, edited, judged and reported."""
