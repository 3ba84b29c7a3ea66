"""BEST-RQ pre-training on AN4 and, if given, a part of LibriSpeech.

> python train.py hparams/bestrq.yaml --data_folder AN4
> python train.py hparams/bestrq.yaml --data_folder AN4 --mask segments \
>     --librispeech_folder LibriSpeech --alignments "[a.csv, b.csv]"

Results: <output_folder>/results.json (hidden frames, phones, letters),
audit.json (attackers), efficiency.json, train_log.txt, and the encoder in
<output_folder>/save/CKPT*/encoder.ckpt.
"""

import sys

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml
from pool_prepare import prepare_pool
from speechbrain.utils.distributed import ddp_init_group, if_main_process

from speechbrain_privacy.dataio.alignments import load_alignments
from speechbrain_privacy.dataio.speech import load_speech_data
from speechbrain_privacy.experiments import (
    audit,
    choose_manifests,
    evaluate_pretraining,
    fit,
)
from speechbrain_privacy.report.summary import print_runs

SPLITS = ("train", "valid", "test", "learn", "probe")

if __name__ == "__main__":
    hparams_file, run_opts, overrides = sb.parse_arguments(sys.argv[1:])
    ddp_init_group(run_opts)
    with open(hparams_file, encoding="utf-8") as file:
        hparams = load_hyperpyyaml(file, overrides)
    sb.create_experiment_directory(
        experiment_directory=hparams["output_folder"],
        hyperparams_to_save=hparams_file,
        overrides=overrides,
    )

    # What goes in: the recipe's manifests or the user's.
    manifests = choose_manifests(
        {split: hparams[f"{split}_manifest"] for split in SPLITS},
        hparams["manifest_folder"],
        prepare=lambda: prepare_pool(
            hparams["data_folder"],
            hparams["manifest_folder"],
            hparams["librispeech_folder"],
            hparams["alignments"],
        ),
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
    alignments = load_alignments(hparams["alignments"], [probed])
    hparams["audit"].check(learn, data.manifests["test"])
    if hparams["reader"]:
        hparams["reader"].check(learn, data.manifests["test"])

    # Which Brain: its adversaries, if any, read the labels of the data.
    brain = hparams["brain"](
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
        n_classes=data.labels.sizes,
    )
    fit(
        brain,
        data,
        hparams["output_folder"],
        batch_seconds=hparams["batch_seconds"],
        num_workers=hparams["num_workers"],
        seed=hparams["seed"],
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
