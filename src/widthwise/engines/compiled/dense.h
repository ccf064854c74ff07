/* A chain of dense layers, one run of it, and what one call does: shared with Python (pack.py). */
#ifndef WIDTHWISE_DENSE_H
#define WIDTHWISE_DENSE_H

#include <stdint.h>

enum activation { NO_ACTIVATION, RELU, TANH, SIGMOID, SILU, GELU, GELU_TANH };
enum loss { CROSS_ENTROPY, MEAN_SQUARED_ERROR };

/* y = activation(multiplier * x W + bias). Weights lie in panels of 16 outputs,
   [outputs / 16][inputs][16], inputs and outputs rounded up to 16 and filled up with zeros;
   reals are float or double as the function's name says. Velocities lie like what they belong
   to; they may be missing (0) if momentum, nesterov and weight_decay are 0. */
struct layer {
    int64_t inputs, outputs;
    int64_t activation;
    double multiplier;
    void *weight, *velocity;
    void *bias, *bias_velocity; /* 0 for none */
};

struct network {
    int64_t num_layers;
    const struct layer *layers;
    int64_t loss;
    double label_smoothing;
    double learning_rate, momentum, weight_decay;
    int64_t nesterov;
};

/* Steps of SGD.
     inputs        (N, n_in), read by row
     labels        (N)
     indices       (steps, batch), rows of inputs; not checked here, nor are labels
     begin         the number of the first step: where blocks of steps begin (blocks.h)
     rate_factors  (steps), multiply the learning rate
     losses        receives the mean loss before each update, at losses[step * losses_stride]
   Returns 0, or 1 if there was no memory. */
#define WIDTHWISE_TRAIN(name)                                                                  \
    int name(const struct network *, const void *inputs, const int64_t *labels,                \
             const int64_t *indices, int64_t begin, int64_t steps, int64_t batch,              \
             const double *rate_factors, void *losses, int64_t losses_stride)

/* Logits (rows, outputs of the last layer) of inputs (rows, n_in); a row's do not depend on the
   others. Returns as above. */
#define WIDTHWISE_LOGITS(name)                                                                 \
    int name(const struct network *, const void *inputs, int64_t rows, void *logits)

/* Over inputs (rows, n_in): the sum of their losses, without label smoothing, and how many have
   their largest logit (the first, of equal ones) at their label. Labels are not checked here.
   Returns as above. */
#define WIDTHWISE_EVALUATE(name)                                                               \
    int name(const struct network *, const void *inputs, const int64_t *labels, int64_t rows,  \
             double *loss, int64_t *correct)

#endif
