"""Image operations of StyleGAN2, NHWC.

Importing any of them tells the library of the compiled ones how it is tested before it is used.
"""

from dnnlib import cli
from dnnlib.tflib import op_library

op_library.set_check(cli.deferred("dnnlib.tflib.ops.checks:check_library"))
