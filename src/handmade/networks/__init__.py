"""Parts of networks that several rooms share: leaf modules and functions of tensors."""
