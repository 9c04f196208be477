"""What `python -m training adapt` does; `training.__main__` has its arguments."""

import argparse
from functools import partial
from pathlib import Path

from core.evaluation.adaptation import AdaptationProgress, in_words
from core.support import records
from core.support.detached import record
from training.adaptation.config import DEFAULT, AdaptationConfig
from training.adaptation.run import adapt as run_adaptation
from training.messages import kept_in
from training.terminal import say
from training.trainer import find_device


def adapt(arguments: argparse.Namespace) -> int:
    """Teach a model a laboratory's cells; 1 where the result should not be used."""
    config = AdaptationConfig.from_toml(arguments.config or DEFAULT)
    with kept_in(arguments.out):
        account = run_adaptation(
            arguments.corrections,
            arguments.out,
            config,
            model=arguments.model,
            device=find_device(arguments.device),
            tell=partial(_tell, arguments.out),
        )
    if arguments.json:
        print(records.to_json(account))
    else:
        print("\n".join(in_words(account)))
    if not (arguments.json or account.refused):
        model_file = arguments.out.parent / "models" / f"{account.model_id}.onnx"
        print(f"python -m export {arguments.out} --out {model_file} makes its model file")
    return 1 if account.refused else 0


def _tell(out: Path, doing: str, share: float) -> None:
    if out.is_dir():
        record(out)
        AdaptationProgress(doing, share).keep(out)
    say(f"{share:4.0%} {doing}", for_now=doing.startswith("scoring"))
