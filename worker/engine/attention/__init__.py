"""Where keys and values lie, and how attention reads them."""
