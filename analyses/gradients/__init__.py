"""How large each layer's gradients are while finetuning goes through the demonstrations (Bar Natan et al. Fig. 3)."""
