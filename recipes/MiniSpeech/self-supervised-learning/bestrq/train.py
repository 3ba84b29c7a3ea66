"""Self-supervised pre-training, and what is asked of the encoder afterwards.

> python train.py hparams/NAME.yaml --data_folder ROOT

Objectives that predict units (HuBERT, WavLM) train in generations: the first
predicts clusters of cepstra, each further one clusters of what the one before
has learnt; the last is the result, the others lie in
<output_folder>/generation-N. Any speech with manifests (ID, duration, wav,
spk_id, gender; wrd for readers) instead of the recipe's corpus:

> python train.py hparams/NAME.yaml --data_folder ROOT \
>     --train_manifest a.csv --valid_manifest b.csv --test_manifest c.csv \
>     --alignments null --reader null

Results: <output_folder>/results.json (hidden frames, phones, letters),
audit.json (attackers), efficiency.json, train_log.txt, and the encoder in
<output_folder>/save/CKPT*/encoder.ckpt.
"""

import sys
from pathlib import Path

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML
from speechbrain.utils.distributed import ddp_init_group, if_main_process

from speechbrain_privacy.audit.checks import check_audit, check_taps
from speechbrain_privacy.audit.representations import Tap
from speechbrain_privacy.brains.processes import leave
from speechbrain_privacy.dataio.alignments import load_alignments
from speechbrain_privacy.dataio.balance import check_balance
from speechbrain_privacy.dataio.settings import check_overrides, check_settings
from speechbrain_privacy.dataio.speech import load_speech_data
from speechbrain_privacy.experiments import (
    add_units,
    audit,
    choose_manifests,
    evaluate_pretraining,
    fit,
)
from speechbrain_privacy.report.summary import print_runs

SPLITS = ("train", "valid", "test", "learn", "probe")


def generation(hparams_file, run_opts, overrides, teacher=None, folder=None):
    """Trains one model, on a teacher's units if there is one; ``folder`` is
    the teacher's."""
    with open(hparams_file, encoding="utf-8") as file:
        hparams = load_hyperpyyaml(file, overrides)
    check_settings(hparams_file, overrides, hparams["output_folder"])
    sb.create_experiment_directory(
        experiment_directory=hparams["output_folder"],
        hyperparams_to_save=hparams_file,
        overrides=overrides,
    )

    # What goes in: the recipe's manifests or the user's.
    manifests = choose_manifests(
        {split: hparams[f"{split}_manifest"] for split in SPLITS},
        hparams["manifest_folder"],
        hparams["prepare"],
    )
    if not hparams["alignments"]:
        manifests.pop("probe", None)
    data = load_speech_data(
        manifests,
        hparams["attributes"],
        save_folder=hparams["save_folder"],
        data_folder=hparams["data_folder"],
        sample_rate=hparams["model"]["sample_rate"],
        begins=hparams["begins"],
    )

    # What is asked of the encoder afterwards must be possible.
    learn = data.manifests.get("learn", data.manifests["train"])
    probed = data.manifests.get("probe", data.manifests["test"])
    if hparams["probe"] is None:
        raise ValueError("probe: without phones give --alignments null instead")
    aligned = [] if hparams["probe"].folds else [data.manifests["train"]]
    alignments = load_alignments(hparams["alignments"], [*aligned, probed])
    if alignments:
        hparams["probe"].check(probed, alignments)
    check_balance(data.manifests["train"], hparams["balance"])
    check_audit(hparams["audit"], learn, data.manifests["test"])
    if hparams["reader"]:
        hparams["reader"].check(learn, data.manifests["test"])

    # Which targets, if they do not come from the features: made once, kept.
    if targets := hparams["targets"]:
        source, frames_of = teacher or ("cepstra", targets["first"])
        add_units(
            data,
            Path(hparams["save_folder"]) / "units.npz",
            targets["n_clusters"],
            frames_of,
            source,
            hparams["seed"],
        )

    # Which Brain: its adversaries, if any, read the labels of the data.
    brain = hparams["brain"](
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
        n_classes=data.labels.sizes,
    )
    check_taps(hparams["audit"].taps, brain)
    if targets and targets["generations"] > 1:
        layer = targets["teacher"].keywords["module"]
        check_taps({"teacher": Tap(layer)}, brain)
    fit(
        brain,
        data,
        hparams["output_folder"],
        batch_seconds=hparams["batch_seconds"],
        num_buckets=hparams["num_buckets"],
        num_workers=hparams["num_workers"],
        seed=hparams["seed"],
        balance=hparams["balance"],
        builds_on={
            "teacher": folder,
            "weights": hparams["model"].get("weights"),
            "detector": getattr(hparams["begins"], "learnt_from", None),
        },
    )

    return hparams, brain, data, alignments


if __name__ == "__main__":
    # Other recipes link to this script; what prepares a corpus lies beside it.
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    hparams_file, run_opts, overrides = sb.parse_arguments(sys.argv[1:])
    check_overrides(hparams_file, overrides)
    ddp_init_group(run_opts)
    overrides = YAML().load(overrides) or {}
    with open(hparams_file, encoding="utf-8") as file:
        last = load_hyperpyyaml(file, overrides)
    teacher = before = None
    targets = last["targets"] or {"generations": 1}
    if targets["generations"] < 1:
        raise ValueError("targets: generations is 1 or more")
    for number in range(1, targets["generations"]):
        here = f"{last['output_folder']}/generation-{number}"
        otherwise = targets.get("earlier", {})
        check_overrides(hparams_file, otherwise)
        given = {**overrides, **otherwise, "output_folder": here}
        hparams, brain, *_ = generation(
            hparams_file, run_opts, given, teacher, before
        )
        teacher, before = hparams["targets"]["teacher"](brain), here
    hparams, brain, data, alignments = generation(
        hparams_file, run_opts, overrides, teacher, before
    )

    # What has been learnt of other speakers' hidden frames and phones, and
    # what fresh attackers learn of the speakers.
    if if_main_process():
        folder = hparams["output_folder"]
        evaluate_pretraining(
            brain,
            data,
            folder,
            hparams["name"],
            hparams["seed"],
            hparams["probe"],
            alignments,
            hparams["reader"],
        )
        audit(brain, data, hparams["audit"], folder)
        print_runs([folder])

    leave()
