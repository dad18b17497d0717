"""What a data set is: records, reading, writing, and folders of images."""
