/* What happens to single numbers between the products: activations and losses. */
#ifndef WIDTHWISE_POINTWISE_H
#define WIDTHWISE_POINTWISE_H

#include "dense.h"
#include "functions.h"
#include "lanes.h"
#include "tiles.h"

/* y replaces x; the derivative goes to `slope`, but for the rectifier, whose y tells it. */
INLINE vec activated(const int KIND, vec x, vec *slope) {
    const vec one = broadcast(1), half = broadcast((real)0.5);
    vec y = x;
    *slope = one;
    if (KIND == RELU) y = greater(zero(), x); /* NaN stays */
    if (KIND == TANH) {
        y = tanh_(x);
        *slope = fma_(-y, y, one);
    }
    if (KIND == SIGMOID) {
        y = sigmoid_(x);
        *slope = y * (one - y);
    }
    if (KIND == SILU) {
        vec s = sigmoid_(x);
        y = x * s;
        *slope = s * fma_(x, one - s, one);
    }
    if (KIND == GELU) {
        vec below = normal_(x);
        y = x * below;
        *slope = fma_(x, normal_density(x), below);
    }
    if (KIND == GELU_TANH) { /* x (1 + tanh(u)) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3) */
        const vec root = broadcast((real)0.79788456080286535588), cubic = broadcast((real)0.044715);
        vec square = x * x, t = tanh_(root * x * fma_(cubic, square, one));
        vec below = fma_(half, t, half), of_u = root * fma_(broadcast(3) * cubic, square, one);
        y = x * below;
        *slope = fma_(half * x * of_u, fma_(-t, t, one), below);
    }
    return y;
}

#define EACH_ACTIVATION(A) A(RELU) A(TANH) A(SIGMOID) A(SILU) A(GELU) A(GELU_TANH)

static void activate(int64_t kind, real *y, real *slope, int64_t count) {
    switch (kind) {
#define CASE(KIND)                                                                             \
    case KIND:                                                                                 \
        for (int64_t i = 0; i < count; i += WIDTH) {                                           \
            vec derivative;                                                                    \
            store(y + i, activated(KIND, load(y + i), &derivative));                           \
            if (KIND != RELU && slope) store(slope + i, derivative);                           \
        }                                                                                      \
        break;
        EACH_ACTIVATION(CASE)
#undef CASE
    }
}

/* The gradient by x from the one by y, in place. */
static void deactivate(int64_t kind, real *gradient, const real *y, const real *slope,
                       int64_t count) {
    if (kind == RELU)
        for (int64_t i = 0; i < count; i += WIDTH)
            store(gradient + i, choose(load(y + i) <= zero(), zero(), load(gradient + i)));
    else if (kind != NO_ACTIVATION)
        for (int64_t i = 0; i < count; i += WIDTH)
            store(gradient + i, load(gradient + i) * load(slope + i));
}

/* Sets what lies beyond the outputs to zero, which else could become NaN before the rest does. */
static void clear_padding(real *x, int64_t rows, int64_t outputs) {
    const int64_t stride = row_length(outputs);
    if (stride == outputs) return;
    for (int64_t b = 0; b < rows; b++)
        for (int64_t k = outputs; k < stride; k++) x[b * stride + k] = 0;
}

/* One example's loss; its logits z become its gradient times `scale`. */
static real cross_entropy(real *z, int64_t classes, int64_t label, real smoothing, real scale) {
    const int64_t stride = padded(classes);
    for (int64_t k = classes; k < stride; k++) z[k] = -(real)__builtin_inf();
    vec peak = load(z);
    for (int64_t k = WIDTH; k < stride; k += WIDTH) peak = greater(load(z + k), peak);
    const real largest = largest_lane(peak), of_label = z[label];
    real mean = 0;
    if (smoothing > 0) {
        for (int64_t k = 0; k < classes; k++) mean += z[k];
        mean /= (real)classes;
    }
    for (int64_t k = 0; k < stride; k += WIDTH)
        store(z + k, exp_(load(z + k) - broadcast(largest)));
    for (int64_t k = classes; k < stride; k++) z[k] = 0;
    vec part[PARTS];
    UNROLL for (int q = 0; q < PARTS; q++) {
        part[q] = load(z + q * WIDTH);
        for (int64_t k = PANEL; k < stride; k += PANEL) part[q] += load(z + k + q * WIDTH);
    }
    const real sum = sum_lanes(part), logarithm = log_(sum) + largest;
    const vec factor = broadcast(scale / sum), less = broadcast(scale * smoothing / (real)classes);
    for (int64_t k = 0; k < stride; k += WIDTH) store(z + k, fma_(load(z + k), factor, -less));
    z[label] -= scale * (1 - smoothing);
    if (!(smoothing > 0)) return logarithm - of_label;
    return (1 - smoothing) * (logarithm - of_label) + smoothing * (logarithm - mean);
}

static real squared_error(real *z, int64_t classes, int64_t label, real scale) {
    real sum = 0;
    z[label] -= 1;
    for (int64_t k = 0; k < classes; k++) {
        sum += z[k] * z[k];
        z[k] *= 2 / (real)classes * scale;
    }
    return sum / (real)classes;
}

static real example_loss(const struct network *net, real *z, int64_t classes, int64_t label,
                         real smoothing, real scale) {
    return net->loss == CROSS_ENTROPY ? cross_entropy(z, classes, label, smoothing, scale)
                                      : squared_error(z, classes, label, scale);
}

/* Where the largest logit is, the first of equal ones. */
static int64_t first_largest(const real *z, int64_t classes) {
    int64_t found = 0;
    for (int64_t k = 1; k < classes; k++)
        if (z[k] > z[found]) found = k;
    return found;
}

static real mean_loss(const struct network *net, real *logits, int64_t classes,
                      const int64_t *labels, const int64_t *index, int64_t batch) {
    const real scale = 1 / (real)batch, smoothing = (real)net->label_smoothing;
    double total = 0;
    for (int64_t b = 0; b < batch; b++) {
        real *z = logits + b * row_length(classes);
        int64_t label = labels[index[b]];
        total += example_loss(net, z, classes, label, smoothing, scale);
    }
    clear_padding(logits, batch, classes);
    return (real)(total / (double)batch);
}

#endif
