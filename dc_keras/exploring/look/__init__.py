"""What the network of a run looks at: its filters, what they respond to, and heat maps."""
