"""The CUDA kernels without TensorFlow: compiled, called and compared with NumPy."""
