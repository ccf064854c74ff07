/* SGD on a chain of dense layers: one run, a whole chunk of steps in one call.

   Compiled once for each type (float, double) and instruction set (see build.py). The weights of
   a small network stay in the core's cache from step to step. Rows of the batch are read where
   they lie in the data set. Products and updates are made of tiles (tiles.h). The update of the
   first layer, which has most of the bytes, and its next forward product share one pass over the
   weights.

   Results depend on the run alone: how a sum is split follows from the batch size, never from
   tiles, instruction sets or where chunks are cut. */
#include "dense.h"

#include <stdlib.h>
#include <string.h>

#include "lanes.h"
#include "pointwise.h"
#include "tiles.h"

/* What one layer needs while it trains: y, which becomes the gradient by the layer's product;
   slope of the activation; W'; and the rows of y. */
struct work {
    real *y, *gradient, *slope, *transposed;
    const real **rows;
};

/* Hands out pieces of one allocation; with memory = 0 it only counts. */
struct arena {
    char *memory;
    size_t used;
};

static void *take(struct arena *arena, size_t bytes) {
    char *at = arena->memory ? arena->memory + arena->used : 0;
    arena->used += (bytes + 63) / 64 * 64;
    return at;
}

/* Everything a call needs besides what it was given; pointers stay 0 without memory. */
struct workspace {
    struct work *layers;
    const real **rows, **next_rows, **gradient_rows;
};

static struct workspace lay_out(const struct network *net, int64_t batch, int training,
                                struct arena *arena) {
    struct workspace space = {.layers = take(arena, net->num_layers * sizeof(struct work)),
                              .rows = take(arena, batch * sizeof(real *)),
                              .next_rows = take(arena, batch * sizeof(real *)),
                              .gradient_rows = take(arena, batch * sizeof(real *))};
    for (int64_t l = 0; l < net->num_layers; l++) {
        const struct layer *layer = net->layers + l;
        struct work w = {0};
        size_t outputs = batch * padded(layer->outputs) * sizeof(real);
        w.y = take(arena, outputs);
        w.rows = take(arena, batch * sizeof(real *));
        if (training) {
            int last = l + 1 == net->num_layers;
            w.gradient = last ? w.y : take(arena, outputs);
            w.slope = last ? 0 : take(arena, outputs);
            if (l > 0 && !by_dots(batch, padded(layer->outputs)))
                w.transposed = take(
                    arena, padded(layer->inputs) * padded(layer->outputs) * sizeof(real));
        }
        if (arena->memory) {
            for (int64_t b = 0; b < batch; b++) w.rows[b] = w.y + b * padded(layer->outputs);
            space.layers[l] = w;
        }
    }
    return space;
}

/* Whether there was memory for it; it is the caller's to free. */
static int reserved(const struct network *net, int64_t batch, int training, struct arena *arena,
                    struct workspace *space) {
    lay_out(net, batch, training, arena);
    arena->memory = aligned_alloc(64, arena->used);
    arena->used = 0;
    if (arena->memory) *space = lay_out(net, batch, training, arena);
    return arena->memory != 0;
}

static struct product product_of(const struct layer *layer, real *out) {
    return (struct product){.weight = layer->weight,
                            .panel_stride = padded(layer->inputs) * PANEL,
                            .depth = layer->inputs,
                            .multiplier = (real)layer->multiplier,
                            .bias = layer->bias,
                            .out = out,
                            .out_stride = padded(layer->outputs)};
}

static void forward_layer(const struct layer *layer, rows_t rows, int64_t batch, int split,
                          real *out) {
    struct product p = product_of(layer, out);
    forward(&p, padded(layer->outputs) / PANEL, rows, batch, split);
}

static struct rule rule_of(const struct network *net) {
    struct rule rule = {.mode = net->momentum != 0 ? MOMENTUM : PLAIN,
                        .momentum = (real)net->momentum,
                        .decay = (real)net->weight_decay,
                        .of_velocity = 1};
    if (net->weight_decay != 0 || (net->nesterov && net->momentum != 0)) rule.mode = GENERAL;
    if (net->nesterov) {
        rule.of_gradient = 1;
        rule.of_velocity = (real)net->momentum;
    }
    return rule;
}

/* The gradient by what the layer was fed, (batch, padded inputs). */
static void backward(const struct layer *layer, const struct work *work, int64_t batch,
                     const real **gradient_rows, real *down) {
    const int64_t inputs = padded(layer->inputs), outputs = padded(layer->outputs);
    if (by_dots(batch, outputs)) {
        backward_by_dots(layer->weight, inputs * PANEL, inputs, outputs / PANEL, work->gradient,
                         batch, down);
        return;
    }
    transpose(layer->weight, inputs * PANEL, inputs, outputs, work->transposed);
    for (int64_t b = 0; b < batch; b++) gradient_rows[b] = work->gradient + b * outputs;
    struct product p = {.weight = work->transposed,
                        .panel_stride = outputs * PANEL,
                        .depth = layer->outputs,
                        .multiplier = 1,
                        .out = down,
                        .out_stride = inputs};
    forward(&p, inputs / PANEL, gradient_rows, batch, split_of(batch));
}

static void multiply(real *x, real by, int64_t count) {
    if (by == 1) return;
    for (int64_t i = 0; i < count; i += WIDTH) store(x + i, load(x + i) * broadcast(by));
}

static void train_steps(const struct network *net, struct workspace space, const real *inputs,
                        const int64_t *labels, const int64_t *indices, int64_t steps,
                        int64_t batch, const double *rate_factors, real *losses,
                        int64_t losses_stride) {
    const struct layer *layers = net->layers;
    struct work *work = space.layers;
    const int64_t last = net->num_layers - 1;
    const int split = split_of(batch);
    struct rule rule = rule_of(net);
    for (int64_t b = 0; b < batch; b++) space.rows[b] = inputs + indices[b] * layers->inputs;
    forward_layer(layers, space.rows, batch, split, work[0].y);
    for (int64_t step = 0; step < steps; step++, indices += batch) {
        const int more = step + 1 < steps;
        rule.step = (real)(-net->learning_rate * rate_factors[step]);
        for (int64_t b = 0; more && b < batch; b++)
            space.next_rows[b] = inputs + indices[batch + b] * layers->inputs;
        for (int64_t l = 1; l <= last; l++) {
            const struct work *below = work + l - 1;
            activate(layers[l - 1].activation, below->y, below->slope,
                     batch * padded(layers[l].inputs));
            forward_layer(layers + l, below->rows, batch, split, work[l].y);
        }
        losses[step * losses_stride] =
            mean_loss(net, work[last].y, layers[last].outputs, labels, indices, batch);
        for (int64_t l = last; l >= 0; l--) {
            const struct layer *layer = layers + l;
            const int64_t outputs = padded(layer->outputs);
            real *gradient = work[l].gradient;
            if (layer->bias)
                update_bias(&rule, gradient, outputs, batch, layer->bias, layer->bias_velocity);
            multiply(gradient, (real)layer->multiplier, batch * outputs);
            if (l > 0) {
                const struct work *below = work + l - 1;
                backward(layer, work + l, batch, space.gradient_rows, below->gradient);
                deactivate(layers[l - 1].activation, below->gradient, below->y, below->slope,
                           batch * padded(layer->inputs));
                clear_padding(below->gradient, batch, layer->inputs);
            }
            if (adds_to_weights(&rule, batch)) multiply(gradient, rule.step, outputs);
            struct update u = {.rows = l > 0 ? work[l - 1].rows : space.rows,
                               .gradient = gradient,
                               .gradient_stride = outputs,
                               .batch = batch,
                               .weight = layer->weight,
                               .velocity = layer->velocity ? layer->velocity : layer->weight,
                               .panel_stride = padded(layer->inputs) * PANEL,
                               .rule = &rule};
            if (l == 0 && more) {
                struct product p = product_of(layer, work[0].y);
                update_and_forward(&u, &p, outputs / PANEL, space.next_rows);
            } else {
                update(&u, layer->inputs, outputs / PANEL);
            }
        }
        const real **used = space.rows;
        space.rows = space.next_rows;
        space.next_rows = used;
    }
}

/* Denormal numbers are zero in here: a velocity that decays towards zero would else cost ten times
   as much as the rest. Returns what to restore. */
static unsigned flush_denormals(void) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* results to zero, operands as zero */
    return before;
}

WIDTHWISE_TRAIN(NAMED(widthwise_train));
WIDTHWISE_LOGITS(NAMED(widthwise_logits));
WIDTHWISE_EVALUATE(NAMED(widthwise_evaluate));

int NAMED(widthwise_train)(const struct network *net, const void *inputs, const int64_t *labels,
                           const int64_t *indices, int64_t steps, int64_t batch,
                           const double *rate_factors, void *losses, int64_t losses_stride) {
    if (steps < 1 || batch < 1) return 0;
    struct arena arena = {0};
    struct workspace space;
    if (!reserved(net, batch, 1, &arena, &space)) return 1;
    unsigned before = flush_denormals();
    train_steps(net, space, inputs, labels, indices, steps, batch, rate_factors, losses,
                losses_stride);
    _mm_setcsr(before);
    free(arena.memory);
    return 0;
}

enum { AT_ONCE = 48 }; /* rows in a forward pass alone: their outputs stay in the cache */

/* Logits of up to AT_ONCE inputs, in the last layer's rows. */
static void forward_rows(const struct network *net, struct workspace space, const real *inputs,
                         int64_t count) {
    const struct layer *layers = net->layers;
    const int64_t last = net->num_layers - 1;
    for (int64_t b = 0; b < count; b++) space.rows[b] = inputs + b * layers->inputs;
    for (int64_t l = 0; l <= last; l++) {
        real *y = space.layers[l].y;
        forward_layer(layers + l, l > 0 ? space.layers[l - 1].rows : space.rows, count, 1, y);
        if (l < last) activate(layers[l].activation, y, 0, count * padded(layers[l].outputs));
    }
}

int NAMED(widthwise_logits)(const struct network *net, const void *inputs, int64_t rows,
                            void *logits) {
    const int64_t last = net->num_layers - 1, size = net->layers[0].inputs,
                  classes = net->layers[last].outputs;
    struct arena arena = {0};
    struct workspace space;
    if (!reserved(net, AT_ONCE, 0, &arena, &space)) return 1;
    unsigned before = flush_denormals();
    for (int64_t first = 0; first < rows; first += AT_ONCE) {
        int64_t count = rows - first < AT_ONCE ? rows - first : AT_ONCE;
        forward_rows(net, space, (const real *)inputs + first * size, count);
        for (int64_t b = 0; b < count; b++)
            memcpy((real *)logits + (first + b) * classes, space.layers[last].rows[b],
                   classes * sizeof(real));
    }
    _mm_setcsr(before);
    free(arena.memory);
    return 0;
}

int NAMED(widthwise_evaluate)(const struct network *net, const void *inputs,
                              const int64_t *labels, int64_t rows, double *loss,
                              int64_t *correct) {
    const int64_t last = net->num_layers - 1, size = net->layers[0].inputs,
                  classes = net->layers[last].outputs;
    struct arena arena = {0};
    struct workspace space;
    if (!reserved(net, AT_ONCE, 0, &arena, &space)) return 1;
    unsigned before = flush_denormals();
    *loss = 0;
    *correct = 0;
    for (int64_t first = 0; first < rows; first += AT_ONCE) {
        int64_t count = rows - first < AT_ONCE ? rows - first : AT_ONCE;
        forward_rows(net, space, (const real *)inputs + first * size, count);
        for (int64_t b = 0; b < count; b++) {
            real *z = space.layers[last].y + b * padded(classes);
            const int64_t label = labels[first + b];
            *correct += first_largest(z, classes) == label;
            *loss += example_loss(net, z, classes, label, 0, 1);
        }
    }
    _mm_setcsr(before);
    free(arena.memory);
    return 0;
}
