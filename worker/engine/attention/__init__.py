"""Where keys and values are kept and how attention reads them; imports no model or scheduler."""
