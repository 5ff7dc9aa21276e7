"""What the jobs of one call share, each made when a job first asks for it."""
import functools
import math

import numpy as np
from tensorflow import keras

from jobs.augmentation import COLOUR_ONLY, augmentation
from jobs.errors import OptionError, option_errors
from jobs.run_directory import RunError, open_run, plan_run
from jobs.vectors import open_vectors
from models.centernet import build_centernet
from models.classifier import build_classifier
from models.crnn import build_crnn
from pipeline.augmentation import InputFormat
from pipeline.batches import evaluation_batches
from pipeline.cache import image_source
from pipeline.mixing import Mixing
from pipeline.product_grid import grid_side, product_source
from pipeline.selection import label_matrix, split_rows
from pipeline.views import tile_maps, view_maps
from records.products import product_store
from records.pseudo import with_pseudo
from records.store import open_store
from training.centernet_step import TrainedCenterNet
from training.classifier_step import TrainedClassifier
from training.devices import choose_strategy
from training.precision import set_mixed_precision
from training.text_step import TrainedCRNN
from training.workers import agreed, cluster

# What a store must have in common with the one a run was trained on.
PACKED_ALIKE = {"classify": ("size", "channels", "fit", "margin", "local_contrast", "denoise"),
                "detect": ("size", "channels", "aspect", "local_contrast", "denoise")}
PACKED_ALIKE["multilabel"] = PACKED_ALIKE["classify"]
PACKED_ALIKE["text"] = PACKED_ALIKE["classify"]  # lines of any width
EVERY_PRODUCT = "all"  # product_images of what was predicted for products of any number of pictures
OF_SINGLE_IMAGES = ("predict", "grad_cam", "reidentify", "fit_rescorer", "pseudo")  # jobs


class Session:
    def __init__(self, options):
        self.options = options

    @functools.cached_property
    def store(self):
        """The packed store, seen by product where that is what the run knows."""
        store, k = self.packed_store, self.product_images
        return store if k is None else product_store(store, None if k == EVERY_PRODUCT else k)

    @functools.cached_property
    def product_images(self):
        """How many pictures each product has that the run is of, or EVERY_PRODUCT; None: of single images.
        A run that is there knows it by itself."""
        o = self.options
        if o.task != "classify" or self.begins_run:
            return o.product_images
        of_run = self.run.info.get("product_images")
        if o.product_images not in (None, of_run):
            raise RunError(f"{self.run.folder} is of {of_run or 'single'} pictures, not of --product_images="
                           f"{o.product_images}: leave it out, or give another --run_dir")
        return of_run

    @functools.cached_property
    def packed_store(self):
        store = open_store(self.options.data_tfrec_dir)
        if self.options.pseudo_tfrec_dir:
            pseudo = open_store(self.options.pseudo_tfrec_dir)
            store = with_pseudo(store, pseudo)
            print(f"pseudo labels: {len(pseudo.manifest)} records of {pseudo.folder}, made by "
                  f"{pseudo.info['options']['made_by']['run']}, train too")
        size = store.info["image"]["size"]
        if self.options.dim_pre not in (None, size):
            raise OptionError(f"--dim_pre={self.options.dim_pre}, but the records of {store.folder} "
                              f"are {size} px: repack with --size={self.options.dim_pre}, or "
                              "correct --dim_pre")
        pages = store.info["records"] == "pages"
        if pages != (self.options.task == "detect"):
            raise OptionError(f"{store.folder} holds {store.info['records']}: --task=detect is for "
                              "pages (create_tfrecords.py --records=pages), --task=classify for "
                              "boxes and whole images")
        if store.lines != (self.options.task == "text"):
            raise OptionError(f"{store.folder} holds {'' if store.lines else 'no '}lines of text, for which "
                              "--task=text is (create_tfrecords.py --format=text, --records=columns, --fit=line)")
        if self.options.task == "text":
            if self.begins_run and not (store.text and store.class_names):
                raise OptionError(f"{store.folder} does not say what stands on its lines: train on a store of "
                                  "--format=text or --records=columns")
            return store
        if store.info["source"] != "test" and store.multilabel != (self.options.task == "multilabel"):
            raise OptionError(f"{store.folder} has {'any number of labels' if store.multilabel else 'one label'} "
                              f"a record: give --task={'multilabel' if store.multilabel else 'classify'}")
        return store

    @functools.cached_property
    def class_names(self):
        """What is told apart: the store's classes, or those of them that --label_group and
        --least_records leave; of a run that is there, its own."""
        if not self.begins_run:
            return self.run.class_names
        o, names = self.options, self.store.class_names
        if o.task != "multilabel":
            return names
        groups = self.store.label_groups
        if o.label_group is not None and o.label_group not in groups:
            raise OptionError(f"--label_group={o.label_group}: the store has "
                              f"{', '.join(groups)}")
        asked = groups.get(o.label_group, range(len(names)))
        counts = self.store.info["class_counts"]
        kept = [names[k] for k in asked if counts[k] >= o.least_records]
        if not kept:
            raise OptionError(f"--least_records={o.least_records} leaves no label: at most {max(counts)} "
                              "records have the same")
        return kept

    @functools.cached_property
    def strategy(self):
        """Devices and number format: both are settled before anything is built."""
        o = self.options
        with option_errors():
            strategy = choose_strategy(o.tpu_ip_or_name, tpu_version=o.tpu_version,
                                       tpu_project=o.tpu_project, tpu_zone=o.tpu_zone,
                                       cpu_replicas=o.cpu_replicas)
            replicas = strategy.num_replicas_in_sync
            if o.batch_size % (replicas * o.accumulate):
                raise ValueError(
                    f"--batch_size={o.batch_size} cannot be shared by {replicas} devices" +
                    (f" with {o.accumulate} micro-batches each" if o.accumulate > 1 else "") +
                    f": give a multiple of {replicas * o.accumulate}")
            set_mixed_precision(o.mixed_precision, strategy)
        return strategy

    @functools.cached_property
    def rows(self):
        """(training rows, validation rows) of the store."""
        return split_rows(self.store.manifest, self.options.split, self.options.val_fold)

    @functools.cached_property
    def labels(self):
        """int64 [n], or of several labels uint8 [n, classes], of every record of the store."""
        if not self.store.multilabel:
            return self.store.manifest["label_id"].to_numpy(np.int64)
        number = {name: k for k, name in enumerate(self.store.class_names)}
        return label_matrix(*self.store.label_ids(), [number[name] for name in self.class_names])

    @functools.cached_property
    def augmentation(self):
        """The Augmentation that the options ask for."""
        o, size, channels = self.options, self.input["size"], self.input["channels"]
        with option_errors():
            asked = augmentation(o)
            if o.blur and 2 * math.ceil(3 * o.blur) >= np.min(size):
                raise ValueError(f"--blur={o.blur:g} is too much for images of {np.min(size)} px: at most "
                                 f"{(np.min(size) - 1) // 2 / 3:.2g}")
            if asked.mixing != Mixing() and o.batch_size // self.strategy.num_replicas_in_sync < 2:
                raise ValueError("images are mixed with others of their device, which has one: give "
                                 "a larger --batch_size")
        idle = [f"--{name}" for name in COLOUR_ONLY if channels == 1 and getattr(o, name)]
        if idle:
            print(f"note: of no effect in images of one channel: {', '.join(idle)}")
        return asked

    @functools.cached_property
    def vectors(self):
        """What comes beside the images: jobs.vectors.Vectors, or None."""
        return open_vectors(self)

    @functools.cached_property
    def source(self):
        """(images of every row in use, position of each row of the store in them)."""
        train_rows, val_rows = self.rows
        used = np.union1d(train_rows, val_rows) if self.begins_run else val_rows
        position = np.full(len(self.store.manifest), -1)
        position[used] = np.arange(len(used))
        only_preview = set(self.options.job) == {"preview"}
        return self.images_of(used, "none" if only_preview else self.options.cache), position

    def images_of(self, rows, cache=None):
        """The ImageSource of rows of the store, in their order, with their vectors where there are any; of
        products, their pictures as the run has them. cache: of pipeline.cache.CACHES; None: --cache."""
        self.strategy  # devices are settled before TensorFlow first uses one
        o, store, k = self.options, self.store, self.product_images
        how = (self.input["channels"], cache or o.cache, o.cache_dir, o.cache_gb and o.cache_gb * 1e9,
               o.buffer_size)
        if not self.begins_run:
            self.run.weights()  # of several runs together there are none
        source = image_source(store, rows, *how) if k is None else product_source(
            image_source(store.packed, store.pictures_of(rows), *how), k, self.product_pooling)
        return self.vectors.beside(source, rows) if self.vectors else source

    @property
    def product_pooling(self):
        """How the pictures of a product are put together; see pipeline.product_grid."""
        if self.begins_run:
            return self.options.product_pooling
        return "features" if "pictures" in self.run.info["network"] else "grid"

    @property
    def begins_run(self):
        """Is a run made here, rather than one used that is there?"""
        return bool({"preview", "train"} & set(self.options.job))

    @functools.cached_property
    def input(self):
        """What the network takes, as in run.json; lines of text may be of another width there."""
        if self.begins_run:
            return self.new_input()
        wide = {"size": list(self.store.record_size)} if self.options.task == "text" else {}
        return self.run.info["input"] | wide

    @functools.cached_property
    def run(self):
        o = self.options
        run = open_run(o.run_dir, o.task, o.pack, o.classes if o.task == "detect" else None)
        odd = next((job for job in o.job if job in OF_SINGLE_IMAGES), None)
        if odd and run.info.get("product_images"):
            raise RunError(f"{run.folder} is of products of several pictures, and --job={odd} about single images: "
                           "give another --run_dir")
        return run

    def plan_run(self, **info):
        """The run to train on the store, nothing written yet. info: entries of run.json."""
        o, store = self.options, self.store
        if o.run_dir is None and cluster()[1] > 1:
            raise OptionError("several workers (TF_CONFIG) need --run_dir, a folder that all of them "
                              "see")
        self.run = plan_run(
            o.run_dir, o.overwrite, o.resume, vars(o), task=o.task, class_names=self.class_names,
            input=self.input,
            dataset={"folder": str(store.folder), "fingerprint": store.info["fingerprint"],
                     "manifest_sha256": store.info["manifest_sha256"],
                     "own_manifest_sha256": store.own_sha256,
                     "packing": self.packing()}, **info)
        if not agreed(self.strategy, self.run.state):
            raise OptionError(f"the workers do not see the same at --run_dir={o.run_dir}: it must be a "
                              "folder that they share")

    def packing(self):
        """How the store's records were cut."""
        return {name: self.store.info["options"][name] for name in PACKED_ALIKE[self.options.task]}

    def check_packing(self):
        """Refuses a store whose records were cut otherwise than those the run was trained on."""
        ours, theirs = self.run.info["dataset"]["packing"], self.packing()
        odd = [f"{name} {theirs[name]} (the run: {ours[name]})"
               for name in theirs if ours[name] != theirs[name]]
        if odd:
            raise RunError(f"{self.store.folder} was packed with {', '.join(odd)}: pack it as the "
                           f"run {self.run.folder} was, or give another --run_dir")
        self.vectors  # refused now, if they must be

    @property
    def input_format(self):
        self.strategy  # sets the number format
        size = self.input["size"]
        return InputFormat(dtype=keras.mixed_precision.global_policy().compute_dtype,
                           **self.input | {"size": tuple(size) if isinstance(size, list) else size})

    def new_input(self):
        """The `input` entry of a new run: what its network takes."""
        o, image = self.options, self.store.info["image"]
        channels = o.n_channels or image["channels"]
        mean, std = o.mean, o.std
        if not mean or not std:
            if channels != image["channels"]:
                raise OptionError(f"the store has {image['channels']} channels and --n_channels="
                                  f"{channels}: its statistics do not fit, so give --mean and "
                                  f"--std, or pack with --channels={channels}")
            mean, std = mean or self.store.info["mean"], std or self.store.info["std"]
        for name, value in (("mean", mean), ("std", std)):
            if len(value) not in (1, channels):
                raise OptionError(f"--{name} has {len(value)} numbers; give 1 or {channels}")
        if min(std) <= 0:
            raise OptionError("the standard deviation of the store is 0: every record looks the "
                              "same; give --std, or repack")
        size = list(self.store.record_size) if o.task == "text" else o.dim or image["size"]
        return {"size": size, "channels": channels, "mean": list(mean),
                "std": list(std)}

    def build(self, run, weights=None):
        """The network of `run`; weights: of the backbone."""
        size, channels = run.info["input"]["size"], run.info["input"]["channels"]
        with self.strategy.scope(), option_errors():
            keras.utils.set_random_seed(self.options.seed)
            if self.options.task == "detect":
                return build_centernet(channels=channels, weights=weights, cls=TrainedCenterNet,
                                       **run.info["network"])
            if self.options.task == "text":
                return build_crnn(input_shape=(*self.input["size"], channels), n_classes=len(run.class_names), cls=TrainedCRNN,
                                  **run.info["network"])
            return build_classifier(input_shape=(size, size, channels), weights=weights,
                                    n_classes=len(run.class_names), cls=TrainedClassifier,
                                    **run.info["network"])

    @functools.cached_property
    def model(self):
        """The run's network with its best weights."""
        path = self.run.weights()
        model = self.build(self.run)
        try:
            model.load_weights(path)
        except (OSError, ValueError) as error:
            raise RunError(f"{path} does not fit the run's network or is damaged: {error}") from error
        return model

    def shapes(self, rows):
        """float [n], width / height of the images of these records. Raises OptionError where the records do
        not show whole images, stretched to a square."""
        store = self.store
        fit = store.info["options"]["fit"]
        if rows is None or store.info["records"] != "images" or self.product_images or not fit.startswith("stretch"):
            raise OptionError(f"--views=tiles is for val and test of whole images packed with --fit=stretch or "
                              f"stretch_area, one a record; {store.folder} has {store.info['records']} packed with "
                              f"--fit={fit}")
        images = store.images().set_index("image_id")
        sides = images.loc[store.manifest["image_id"].to_numpy()[rows], ["width", "height"]].to_numpy(float)
        return sides[:, 0] / sides[:, 1]

    def evaluation_batches(self, run, source, positions, kind="one", rows=None):
        """Each record in the views of `kind` (pipeline.views); with several, fewer records a batch. rows: of
        the store, int [n], for tiles, which are of each record by its shape."""
        size, replicas = run.info["input"]["size"], self.strategy.num_replicas_in_sync
        pictures, side = run.info["network"].get("pictures"), run.info["dataset"]["packing"]["size"]
        if run.info.get("product_images") and not pictures:
            side *= grid_side(run.info["product_images"])
        with option_errors():
            views = (tile_maps(self.shapes(rows), run.info["eval_crop"]) if kind == "tiles" else
                     view_maps(kind, size, side, run.info["eval_crop"]))
        if self.options.tta_number is not None:
            views = views[:self.options.tta_number + 1]
        n_views = views.shape[-3]
        records = max(1, self.options.batch_size // replicas // n_views // (pictures or 1)) * replicas
        return evaluation_batches(source, positions, self.input_format, batch_size=records, views=views)
