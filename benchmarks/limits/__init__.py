"""What the machine allows: loops that only keep the book, in C and by numba, and its memory."""
