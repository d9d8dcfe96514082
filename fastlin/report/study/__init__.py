"""The reference study of CIFAR-10, run anew."""
