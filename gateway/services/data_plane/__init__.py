"""The use cases of the data plane: tokens, what they are valid for, and the addresses that they lead to."""
