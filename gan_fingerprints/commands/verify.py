"""Flags of `verify`, `attribute` and `verify-report`."""

from dnnlib import cli
from gan_fingerprints.commands.common import (
    Commands,
    add_c2pa,
    add_command,
    add_decision,
    add_fpr,
    add_images,
    add_json,
    add_network,
    add_registry,
    add_results,
    add_search,
)

VERIFY_HELP = "whether the model made an image, and whose"
VERIFY_DESCRIPTION = """\
Gives a verdict on each image: `not-ours`, `ours, unattributed` or `licensee X`, with the
probability p that an image of another origin matches some registered fingerprint as well, the
matching bits, and the lead over the runner-up. docs/fingerprints.md says what a verdict means.
"""
ATTRIBUTE_HELP = "whose fingerprint fits images best"
ATTRIBUTE_DESCRIPTION = """\
Names for each image the registered fingerprints that explain it best, by the likelihood of the
decoder's logits, and the verdict; for many images, with the throughput and a count at the end.
"""
VERIFY_EXAMPLES = """examples:
  {command} --network=network-final.pkl picture.png
  {command} --network=network-final.pkl --pool account-1/ account-2/
  {command} --network=network-final.pkl --recursive --shard=0/4 --out=results-0.parquet uploads/
"""
ATTRIBUTE_EXAMPLES = """example:
  {command} --network=network-final.pkl --json --list=files.txt
"""

VERIFY = cli.deferred("gan_fingerprints.work.verify:verify")
REPORT_HELP = "check a report of verify --report"
REPORT_EXAMPLE = "example:\n  {command} --public-key=signing.key.pub case.html"
VERIFY_REPORT = cli.deferred("gan_fingerprints.work.reports:verify_report")
ATTRIBUTE = cli.deferred("gan_fingerprints.work.verify:attribute")


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the commands `verify`, `attribute` and `verify-report`."""
    report = add_command(
        commands, "verify-report", REPORT_HELP, VERIFY_REPORT, epilog=REPORT_EXAMPLE
    )
    report.add_argument("report", metavar="FILE", help="the document")
    report.add_argument(
        "--public-key", required=True, metavar="FILE", help=".pub file of the key that signed it"
    )
    add_json(report)
    for name, help_text, work, description, examples in (
        ("verify", VERIFY_HELP, VERIFY, VERIFY_DESCRIPTION, VERIFY_EXAMPLES),
        ("attribute", ATTRIBUTE_HELP, ATTRIBUTE, ATTRIBUTE_DESCRIPTION, ATTRIBUTE_EXAMPLES),
    ):
        parser = add_command(commands, name, help_text, work, description, examples)
        add_network(parser)
        add_registry(parser)
        add_images(parser)
        add_results(parser)
        add_fpr(parser)
        parser.add_argument(
            "--fwer",
            type=cli.probability,
            metavar="F",
            help="highest probability that any image of this call, or of all its shards, is called "
            "ours by mistake; takes the place of --fpr",
        )
        parser.add_argument(
            "--pool",
            action="store_true",
            help="images of one argument (a folder, a pattern) come from one source and get one "
            "verdict together; those that are alike count once",
        )
        add_decision(parser)
        add_search(parser)
        parser.add_argument(
            "--ray",
            nargs="?",
            const="local",
            metavar="ADDRESS",
            help="judge on a Ray cluster, which needs requirements/ray.txt on every machine: that "
            "at this address; without one, processes of this machine",
        )
        parser.add_argument(
            "--ray-actors",
            type=cli.positive_int,
            metavar="N",
            help="decoders on the cluster (default: one per GPU; without GPUs one per machine)",
        )
        if name == "verify":
            parser.add_argument(
                "--licensee",
                metavar="ID",
                help="compare with this licensee only, who was suspected before",
            )
            add_c2pa(parser)
            parser.add_argument(
                "--report",
                metavar="FILE",
                help="of one picture: write a signed document of evidence, case.html",
            )
            parser.add_argument(
                "--report-key", metavar="FILE", help="signing key of the report, see keygen"
            )
            parser.add_argument(
                "--payload-key",
                metavar="FILE",
                help="no registry: read a payload (issue --payload) with this key",
            )
        else:
            parser.add_argument(
                "--top",
                type=cli.positive_int,
                default=3,
                metavar="K",
                help="candidates to show (default: 3)",
            )
        add_json(parser)
