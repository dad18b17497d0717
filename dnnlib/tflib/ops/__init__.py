"""Image operations of StyleGAN2, NHWC."""
