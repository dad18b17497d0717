"""Code that tests run as several workers."""

import sys
import textwrap


def python(code: str) -> list[str]:
    """A worker that knows its number as `index`."""
    head = """
        import json, os, signal, sys, time
        config = json.loads(os.environ["TF_CONFIG"])
        index = config["task"]["index"]
    """
    return [sys.executable, "-u", "-c", textwrap.dedent(head) + textwrap.dedent(code)]


TRAINING = """
    from dnnlib import cli
    from dnnlib.tflib.start import quiet_tensorflow

    def main(argv):
        quiet_tensorflow(False)
        from dnnlib.tflib.devices import make_devices

        devices = make_devices(0)
        with devices.reporting_lost_workers():
            for number in range(10**6):
                devices.agree(False)
                if number == 20 and index == VICTIM:
                    os.kill(os.getpid(), signal.SIGKILL)

    cli.run(main)
"""
