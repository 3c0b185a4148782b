"""The galleries of this process, and what is cached of them."""
