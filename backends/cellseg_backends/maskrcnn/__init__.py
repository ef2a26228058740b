"""A Mask R-CNN that finds nuclei: the network, its training, and the segmenter.

Where to look. In use, from what is called to what it calls::

    segmenter           the component: options, adapting to an image, loading the network once
    contrast            brightness as the network sees it: background 0, typical nuclei 1
    detector            from a plane to labels and scores, with all that lies between the stages
    detection_kernels   compiled: one box for each nucleus, masks drawn into a label image
    stages              the network in use, in three functions
    compiled_call       compiles them, on whichever backend Keras works with
    precision           half precision where it is quick and finds the same
    keras_start         imports Keras, or says what is missing

The network::

    presets             the sizes in which it comes, strides and margins
    model               its three parts, and the model that trains them
    layers, pyramid     convolutions without normalisation; backbone and feature pyramid
    anchors, proposals  boxes at fixed places; how likely each holds a nucleus
    boxes, roi_align    coordinates and overlap of boxes; the features within each
    heads               what a box holds, its exact place, its mask and how good that is
    dense               a task for every pixel, in training only

Training, from what is called to what it calls::

    trainer             the component: options, and what they are by default
    training_run        one training, from its plan to the files that it leaves
    training            the loop: steps, learning rate, averaged weights, checkpoints
    training_log        log.csv, a row for each step
    interruption        Ctrl-C between two steps
    dataset             images and masks as segmenters see them
    batches             crops, with all that the losses need
    augmentation        random variation of crops
    crop_kernels        compiled: cuts crops
    matching_kernels    compiled: which nucleus each anchor answers for
    targets, losses     what the second stage is to say, and what an error costs
    validation, trial   how accurate the network is, and the network as it is now as a segmenter

Files::

    weights             writes, checks and reads a network; finds its folder
    export              ONNX, for other programs
    shipped/            the weights that come with cellseg
"""
