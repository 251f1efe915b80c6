"""The networks of the method, their front-ends, and the trainer around them."""
