"""Makes an item's prompt from its job's template: cleans, cuts, renders; the same in both tiers"""
