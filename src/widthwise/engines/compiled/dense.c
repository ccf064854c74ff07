/* SGD on a chain of dense layers: one run, a whole chunk of steps in one call.

   Compiled once for each type (float, double) and instruction set (see build.py). The weights of
   a small network stay in the core's cache from step to step. Rows of the batch are read where
   they lie in the data set. Products and updates are made of tiles (tiles.h). The first layer has
   most of the weights: its update and its next forward product share one pass over them, and with
   one example a step it is taken sixteen steps at a time (blocks.h).

   Results depend on the run alone: how a sum is split follows from the batch size and the numbers
   of the steps, never from tiles, instruction sets or, where blocks are whole, cuts into chunks. */
#include "dense.h"

#include <stdlib.h>
#include <string.h>

#include "blocks.h"
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
    struct block block; /* of training with one example a step */
};

static struct block lay_out_block(const struct layer *layer, struct arena *arena) {
    const size_t outputs = STEPS * row_length(layer->outputs) * sizeof(real);
    const int velocities = layer->velocity != 0;
    return (struct block){.rows = take(arena, STEPS * sizeof(real *)),
                          .by_weight = take(arena, outputs),
                          .by_velocity = velocities ? take(arena, outputs) : 0,
                          .gradient = take(arena, outputs),
                          .to_weight = take(arena, outputs),
                          .to_velocity = velocities ? take(arena, outputs) : 0,
                          .panel = take(arena, layer->inputs * PANEL * sizeof(real)),
                          .inner = take(arena, STEPS * PANEL * sizeof(real)),
                          .recurrence = take(arena, sizeof(struct recurrence))};
}

static struct workspace lay_out(const struct network *net, int64_t batch, int training,
                                struct arena *arena) {
    struct workspace space = {.layers = take(arena, net->num_layers * sizeof(struct work)),
                              .rows = take(arena, batch * sizeof(real *)),
                              .next_rows = take(arena, batch * sizeof(real *)),
                              .gradient_rows = take(arena, batch * sizeof(real *))};
    if (training && batch == 1) space.block = lay_out_block(net->layers, arena);
    for (int64_t l = 0; l < net->num_layers; l++) {
        const struct layer *layer = net->layers + l;
        struct work w = {0};
        size_t outputs = batch * row_length(layer->outputs) * sizeof(real);
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
            for (int64_t b = 0; b < batch; b++) w.rows[b] = w.y + b * row_length(layer->outputs);
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
                            .out_stride = row_length(layer->outputs)};
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

/* The gradient by what the layer was fed, rows of `inputs`. */
static void backward(const struct layer *layer, const struct work *work, int64_t batch,
                     const real **gradient_rows, real *down) {
    const int64_t inputs = padded(layer->inputs), outputs = padded(layer->outputs);
    if (by_dots(batch, outputs)) {
        backward_by_dots(layer->weight, inputs * PANEL, inputs, outputs, work->gradient, batch,
                         down);
        return;
    }
    transpose(layer->weight, inputs * PANEL, inputs, outputs, work->transposed);
    for (int64_t b = 0; b < batch; b++)
        gradient_rows[b] = work->gradient + b * row_length(outputs);
    struct product p = {.weight = work->transposed,
                        .panel_stride = outputs * PANEL,
                        .depth = layer->outputs,
                        .multiplier = 1,
                        .out = down,
                        .out_stride = row_length(inputs)};
    forward(&p, inputs / PANEL, gradient_rows, batch, split_of(batch));
}

static void multiply(real *x, real by, int64_t count) {
    if (by == 1) return;
    for (int64_t i = 0; i < count; i += WIDTH) store(x + i, load(x + i) * broadcast(by));
}

static struct update update_of(const struct layer *layer, const struct rule *rule, rows_t rows,
                               const real *gradient, int64_t batch) {
    return (struct update){.rows = rows,
                           .gradient = gradient,
                           .gradient_stride = row_length(layer->outputs),
                           .batch = batch,
                           .weight = layer->weight,
                           .velocity = layer->velocity ? layer->velocity : layer->weight,
                           .panel_stride = padded(layer->inputs) * PANEL,
                           .rule = rule,
                           .mode = rule->mode};
}

/* What the steps of one call have in common, and where the call is. */
struct call {
    const struct network *net;
    struct workspace space;
    const real *inputs;
    const int64_t *labels, *indices; /* indices from this step on, as all that follows */
    int64_t batch;
    const double *rate_factors;
    struct rule rule;
    real *losses;
    int64_t losses_stride;
};

/* The next `count` examples of the call. */
static void point_at(const struct call *call, int64_t count, const real **rows) {
    for (int64_t i = 0; i < count; i++)
        rows[i] = call->inputs + call->indices[i] * call->net->layers->inputs;
}

/* One step, from the first layer's outputs, layers[0].y, to the gradient by its products,
   layers[0].gradient. All is updated but the first layer's weights; the call moves on. */
static void train_step(struct call *call) {
    const struct network *net = call->net;
    const struct layer *layers = net->layers;
    struct work *work = call->space.layers;
    const int64_t last = net->num_layers - 1, batch = call->batch;
    struct rule *rule = &call->rule;
    rule->step = (real)(-net->learning_rate * *call->rate_factors);
    for (int64_t l = 1; l <= last; l++) {
        const struct work *below = work + l - 1;
        activate(layers[l - 1].activation, below->y, below->slope,
                 batch * row_length(layers[l].inputs));
        forward_layer(layers + l, below->rows, batch, split_of(batch), work[l].y);
    }
    *call->losses =
        mean_loss(net, work[last].y, layers[last].outputs, call->labels, call->indices, batch);
    for (int64_t l = last; l >= 0; l--) {
        const struct layer *layer = layers + l;
        const int64_t row = row_length(layer->outputs);
        real *gradient = work[l].gradient;
        if (layer->bias)
            update_bias(rule, gradient, layer->outputs, batch, layer->bias, layer->bias_velocity);
        multiply(gradient, (real)layer->multiplier, batch * row);
        if (l == 0) break;
        const struct work *below = work + l - 1;
        backward(layer, work + l, batch, call->space.gradient_rows, below->gradient);
        deactivate(layers[l - 1].activation, below->gradient, below->y, below->slope,
                   batch * row_length(layer->inputs));
        clear_padding(below->gradient, batch, layer->inputs);
        struct update u = update_of(layer, rule, below->rows, gradient, batch);
        if (u.mode == PLAIN && batch == 1) { /* an operation less a weight, and no more rounding */
            multiply(gradient, rule->step, row);
            u.mode = ADDED;
        }
        update(&u, layer->inputs, padded(layer->outputs) / PANEL);
    }
    call->indices += batch;
    call->rate_factors++;
    call->losses += call->losses_stride;
}

static void train_steps(struct call *call, int64_t steps) {
    const struct layer *layer = call->net->layers;
    struct workspace *space = &call->space;
    struct work *work = space->layers;
    const int64_t batch = call->batch, panels = padded(layer->outputs) / PANEL;
    const struct product p = product_of(layer, work->y);
    point_at(call, batch, space->rows);
    forward(&p, panels, space->rows, batch, split_of(batch));
    for (int64_t left = steps - 1; left >= 0; left--) {
        train_step(call);
        struct update u = update_of(layer, &call->rule, space->rows, work->gradient, batch);
        if (left == 0) {
            update(&u, layer->inputs, panels);
            break;
        }
        point_at(call, batch, space->next_rows);
        update_and_forward(&u, &p, panels, space->next_rows);
        const real **used = space->rows;
        space->rows = space->next_rows;
        space->next_rows = used;
    }
}

/* One block of steps with one example each, see blocks.h. */
static void train_block(struct call *call, int64_t steps) {
    const struct network *net = call->net;
    const struct layer *layer = net->layers;
    const struct block *block = &call->space.block;
    struct recurrence *r = block->recurrence;
    struct work *work = call->space.layers;
    const int64_t row = row_length(layer->outputs), panels = padded(layer->outputs) / PANEL;
    point_at(call, steps, block->rows);
    struct product p = product_of(layer, block->by_weight);
    p.multiplier = 1; /* outputs_at does the rest */
    p.bias = 0;
    forward(&p, panels, block->rows, steps, 1);
    if (block->by_velocity) {
        p.weight = layer->velocity;
        p.out = block->by_velocity;
        forward(&p, panels, block->rows, steps, 1);
    }
    inner_products(block->rows, steps, layer->inputs, block->panel, block->inner);
    follow(&call->rule, net->learning_rate, call->rate_factors, steps, r);
    for (int64_t t = 0; t < steps; t++) {
        work->gradient = block->gradient + t * row;
        if (net->num_layers == 1) work->y = work->gradient; /* where the loss leaves it */
        outputs_at(block, t, layer, work->y);
        train_step(call);
    }
    scale_rows(block->gradient, r->of_step[steps], steps, row, block->to_weight);
    struct update u = update_of(layer, &call->rule, block->rows, block->to_weight, steps);
    u.mode = ADDED;
    if (block->by_velocity) {
        scale_rows(block->gradient, r->velocity_of_step, steps, row, block->to_velocity);
        u.mode = OF_BLOCK;
        u.velocity_gradient = block->to_velocity;
        u.of_weight = r->of_weight[steps];
        u.of_velocity = r->of_velocity[steps];
        u.velocity_of_weight = r->velocity_of_weight;
        u.velocity_of_velocity = r->velocity_of_velocity;
    }
    update(&u, layer->inputs, panels);
}

/* Blocks begin at multiples of their size, whatever step a call begins with. */
static void train_blocks(struct call *call, int64_t begin, int64_t steps) {
    for (int64_t step = begin, end = begin + steps; step < end;) {
        int64_t whole = STEPS - step % STEPS, count = whole < end - step ? whole : end - step;
        train_block(call, count);
        step += count;
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
                           const int64_t *indices, int64_t begin, int64_t steps, int64_t batch,
                           const double *rate_factors, void *losses, int64_t losses_stride) {
    if (steps < 1 || batch < 1) return 0;
    struct arena arena = {0};
    struct call call = {.net = net,
                        .inputs = inputs,
                        .labels = labels,
                        .indices = indices,
                        .batch = batch,
                        .rate_factors = rate_factors,
                        .rule = rule_of(net),
                        .losses = losses,
                        .losses_stride = losses_stride};
    if (!reserved(net, batch, 1, &arena, &call.space)) return 1;
    unsigned before = flush_denormals();
    if (batch == 1) train_blocks(&call, begin, steps);
    else train_steps(&call, steps);
    _mm_setcsr(before);
    free(arena.memory);
    return 0;
}

/* Logits of up to ROWS_AT_ONCE inputs, in the last layer's rows. */
static void forward_rows(const struct network *net, struct workspace space, const real *inputs,
                         int64_t count) {
    const struct layer *layers = net->layers;
    const int64_t last = net->num_layers - 1;
    for (int64_t b = 0; b < count; b++) space.rows[b] = inputs + b * layers->inputs;
    for (int64_t l = 0; l <= last; l++) {
        real *y = space.layers[l].y;
        forward_layer(layers + l, l > 0 ? space.layers[l - 1].rows : space.rows, count, 1, y);
        if (l < last) activate(layers[l].activation, y, 0, count * row_length(layers[l].outputs));
    }
}

int NAMED(widthwise_logits)(const struct network *net, const void *inputs, int64_t rows,
                            void *logits) {
    const int64_t last = net->num_layers - 1, size = net->layers[0].inputs,
                  classes = net->layers[last].outputs;
    struct arena arena = {0};
    struct workspace space;
    if (!reserved(net, ROWS_AT_ONCE, 0, &arena, &space)) return 1;
    unsigned before = flush_denormals();
    for (int64_t first = 0; first < rows; first += ROWS_AT_ONCE) {
        int64_t count = rows - first < ROWS_AT_ONCE ? rows - first : ROWS_AT_ONCE;
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
    if (!reserved(net, ROWS_AT_ONCE, 0, &arena, &space)) return 1;
    unsigned before = flush_denormals();
    *loss = 0;
    *correct = 0;
    for (int64_t first = 0; first < rows; first += ROWS_AT_ONCE) {
        int64_t count = rows - first < ROWS_AT_ONCE ? rows - first : ROWS_AT_ONCE;
        forward_rows(net, space, (const real *)inputs + first * size, count);
        for (int64_t b = 0; b < count; b++) {
            real *z = space.layers[last].y + b * row_length(classes);
            const int64_t label = labels[first + b];
            *correct += first_largest(z, classes) == label;
            *loss += example_loss(net, z, classes, label, 0, 1);
        }
    }
    _mm_setcsr(before);
    free(arena.memory);
    return 0;
}
