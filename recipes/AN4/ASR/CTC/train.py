"""CTC speech recognition on CMU AN4, plain or adversarial, then audited.

> python train.py hparams/conformer.yaml --data_folder /path/to/an4
"""

import sys

import speechbrain as sb
from an4_prepare import prepare_an4
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.sampler import DynamicBatchSampler
from speechbrain_privacy.dataio.asr import load_asr_data
from speechbrain.utils.distributed import run_on_main

if __name__ == "__main__":
    hparams_file, run_opts, overrides = sb.parse_arguments(sys.argv[1:])
    sb.utils.distributed.ddp_init_group(run_opts)
    with open(hparams_file, encoding="utf-8") as fin:
        hparams = load_hyperpyyaml(fin, overrides)
    sb.create_experiment_directory(
        experiment_directory=hparams["output_folder"],
        hyperparams_to_save=hparams_file,
        overrides=overrides,
    )
    run_on_main(
        prepare_an4,
        args=[hparams["data_folder"], hparams["manifest_folder"], hparams["split_seed"]],
    )
    data = load_asr_data(
        {s: hparams[f"{s}_manifest"] for s in ("train","valid","seen","test")},
        hparams["tokenizer"], hparams["attributes"], hparams["save_folder"], hparams["data_folder"],
        hparams["model"]["sample_rate"], hparams["model"]["frames_per_second"])
    if "adversaries" in hparams["modules"]:
        hparams["modules"]["adversaries"].set_classes(data.labels.sizes)
    brain = hparams["brain"](modules=hparams["modules"], hparams=hparams, run_opts=run_opts, checkpointer=hparams["checkpointer"])
    sampler = DynamicBatchSampler(data.datasets["train"], hparams["batch_seconds"], num_buckets=10, seed=hparams["seed"])
    brain.fit(hparams["epoch_counter"], data.datasets["train"], data.datasets["valid"],
        train_loader_kwargs={"batch_sampler": sampler, "num_workers": hparams["num_workers"]}, valid_loader_kwargs={"batch_size": 16})
    brain.evaluate(data.datasets["test"], test_loader_kwargs={"batch_size": 16})
    print("TEST", brain.word_errors().rate)
    print("ADV", brain.adversary_accuracy(data.datasets["seen"], batch_size=16))
