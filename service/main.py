"""The commands `serve` and `serve-key`."""

import argparse
import logging
import sys

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.optional import require
from gan_fingerprints.work.registry import keep_heads
from service.callers import Keys, add_key, remove_key
from service.judging import Judging
from service.log_lines import LogLines
from service.reporting import Reports
from service.settings import Limits, Settings

_MISSING = "serve needs the package {name}; run: pip install -r requirements/serve.txt"
_CREATE_APP = cli.deferred("service.app:create_app")


def serve(args: argparse.Namespace) -> None:
    """The command `serve`: runs until SIGTERM or Ctrl-C, then answers what it has taken."""
    for name in ("fastapi", "python_multipart", "prometheus_client"):
        require(name, _MISSING)
    uvicorn = require("uvicorn", _MISSING)
    settings = settings_of(args)
    # A mistake there is told before the network is loaded.
    Keys(settings.keys)
    if settings.report_key is not None:
        Reports(settings.report_key)
    judging = Judging(args, settings.limits)
    keep_heads(args, judging.registry)
    judging.warm_up()
    app = _CREATE_APP(judging, settings)
    logging.basicConfig(handlers=[LogLines()], level=logging.INFO, format="%(asctime)s %(message)s")
    config = uvicorn.Config(
        app,
        host=args.host,
        port=args.port,
        access_log=False,  # its lines name addresses; ours do not
        log_level="warning",
        server_header=False,
        proxy_headers=args.trusted_proxy is not None,
        forwarded_allow_ips=args.trusted_proxy or "",
        timeout_graceful_shutdown=int(settings.limits.timeout) + 5,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=32_768,
        ws="none",
    )
    server = uvicorn.Server(config)
    print(f"listening on http://{args.host}:{args.port}", file=sys.stderr)
    try:
        server.run()
    except SystemExit as error:  # what uvicorn makes of a port that is taken
        raise UserError(
            f"cannot listen on {args.host}:{args.port}; see the line above, or use another --port"
        ) from error


def settings_of(args: argparse.Namespace) -> Settings:
    """What the flags say.

    Raises:
        UserError: limits that contradict each other.
    """
    limits = Limits(
        max_batch=args.max_batch,
        max_wait=args.max_wait_ms / 1000,
        queue=args.queue,
        timeout=args.timeout,
        max_bytes=args.max_bytes,
        max_pixels=args.max_pixels,
        max_files=args.max_files,
        anonymous=args.anonymous,
    )
    if limits.queue < limits.max_files:
        raise UserError(
            f"--queue={limits.queue} holds no request of --max-files={limits.max_files} pictures; "
            "raise the one or lower the other"
        )
    if args.manifests is not None and args.reveal == "none":
        raise UserError("--manifests tells which fingerprint it is, and --reveal=none does not")
    if not limits.anonymous and args.keys is None:
        raise UserError("--anonymous=0 lets nobody in without --keys; name a file of serve-key")
    return Settings(
        reveal=args.reveal,
        limits=limits,
        keys=args.keys,
        feedback=args.feedback,
        c2pa=bool(args.c2pa),
        c2pa_alg=args.c2pa_alg,
        c2pa_anchors=args.c2pa_anchors,
        manifests=args.manifests,
        report_key=args.report_key,
        allow_urls=args.allow_urls,
        refresh=args.refresh,
    )


def serve_key(args: argparse.Namespace) -> None:
    """The command `serve-key`."""
    if args.remove:
        remove_key(args.keys, args.name)
        print(f"removed {args.name}", file=sys.stderr)
        return
    key = add_key(args.keys, args.name, tuple(args.scopes), args.per_minute)
    print(key)
    print("this is the key: it is kept nowhere, only its hash", file=sys.stderr)
