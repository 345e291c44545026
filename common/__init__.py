"""What the other rooms share: types, errors, settings, the store; imports none of them."""
