/* One example a step: the first layer takes a block of sixteen steps at once.

   What it is fed is known before training gets there, and SGD is linear in weights W, velocities V
   and gradients. So with W and V as they are when a block begins, its outputs in step t are

     x_t W_t = of_weight[t] x_t W + of_velocity[t] x_t V
               + sum over the block's earlier steps s of of_step[t][s] (x_t . x_s) gradient_s,

   a product of the block's sixteen rows, and a few additions a step. The weights, whose reading and
   writing is what a step of one example waits for, are read twice and written once a block. The
   price is the products of the rows with each other and, with velocities, a second product in each
   direction. */
#ifndef WIDTHWISE_BLOCKS_H
#define WIDTHWISE_BLOCKS_H

#include "dense.h"
#include "lanes.h"
#include "tiles.h"

enum { STEPS = PANEL }; /* of a whole block: their rows are one panel */

/* How weights and velocities follow from those at the beginning of a block: of_*[t] before step t,
   [steps] behind the last. */
struct recurrence {
    real of_weight[STEPS + 1], of_velocity[STEPS + 1], of_step[STEPS + 1][STEPS];
    real velocity_of_weight, velocity_of_velocity, velocity_of_step[STEPS];
};

/* The rule itself (tiles.h: updated), applied to the coefficients of W, V and each gradient. */
static void follow(const struct rule *rule, double learning_rate, const double *rate_factors,
                   int64_t steps, struct recurrence *to) {
    enum { WEIGHT, VELOCITY, GRADIENTS };
    double w[GRADIENTS + STEPS] = {[WEIGHT] = 1}, v[GRADIENTS + STEPS] = {[VELOCITY] = 1};
    for (int64_t t = 0;; t++) {
        to->of_weight[t] = (real)w[WEIGHT];
        to->of_velocity[t] = (real)w[VELOCITY];
        for (int64_t s = 0; s < t; s++) to->of_step[t][s] = (real)w[GRADIENTS + s];
        if (t == steps) break;
        for (int64_t k = 0; k <= GRADIENTS + t; k++) {
            double gradient = (double)rule->decay * w[k] + (k == GRADIENTS + t);
            v[k] = (double)rule->momentum * v[k] + gradient;
            w[k] -= learning_rate * rate_factors[t] *
                    ((double)rule->of_gradient * gradient + (double)rule->of_velocity * v[k]);
        }
    }
    to->velocity_of_weight = (real)v[WEIGHT];
    to->velocity_of_velocity = (real)v[VELOCITY];
    for (int64_t s = 0; s < steps; s++) to->velocity_of_step[s] = (real)v[GRADIENTS + s];
}

/* The block's rows as a panel, [depth][16]; lanes without a row are zero. */
static void gather_panel(rows_t rows, int64_t count, int64_t depth, real *panel) {
    const int64_t whole = depth / WIDTH * WIDTH;
    for (int64_t first = 0; first < PANEL; first += WIDTH)
        for (int64_t k = 0; k < whole; k += WIDTH) {
            vec square[WIDTH];
            UNROLL for (int i = 0; i < WIDTH; i++) square[i] =
                first + i < count ? load(rows[first + i] + k) : zero();
            transpose_vectors(square);
            UNROLL for (int i = 0; i < WIDTH; i++)
                store(panel + (k + i) * PANEL + first, square[i]);
        }
    for (int64_t k = whole; k < depth; k++)
        for (int64_t i = 0; i < PANEL; i++) panel[k * PANEL + i] = i < count ? rows[i][k] : 0;
}

/* inner[i][j] = rows[i] . rows[j]. `panel` holds [depth][16] meanwhile. */
static void inner_products(rows_t rows, int64_t count, int64_t depth, real *panel,
                           real inner[STEPS][PANEL]) {
    gather_panel(rows, count, depth, panel);
    struct product p = {
        .weight = panel, .depth = depth, .multiplier = 1, .out = inner[0], .out_stride = PANEL};
    forward(&p, 1, rows, count, 1);
}

/* What a block keeps of the first layer. */
struct block {
    const real **rows;               /* what it is fed */
    real *by_weight, *by_velocity;   /* rows times W and V, each (steps, outputs) */
    real *gradient;                  /* by the layer's products, (steps, outputs) */
    real *to_weight, *to_velocity;   /* the same, scaled as it is to be added */
    real *panel;                     /* scratch */
    real (*inner)[PANEL];
    struct recurrence *recurrence;
};

/* The first layer's outputs at step t of the block. */
static void outputs_at(const struct block *block, int64_t t, const struct layer *layer,
                       real *out) {
    const struct recurrence *r = block->recurrence;
    const ptrdiff_t stride = row_length(layer->outputs);
    const vec of_weight = broadcast(r->of_weight[t]), of_velocity = broadcast(r->of_velocity[t]),
              multiplier = broadcast((real)layer->multiplier);
    const real *bias = layer->bias;
    real factors[STEPS];
    for (int64_t s = 0; s < t; s++) factors[s] = r->of_step[t][s] * block->inner[t][s];
    const real *rows[] = {factors};
    for (ptrdiff_t at = 0; at < padded(layer->outputs); at += PANEL) {
        sums_t sums;
        UNROLL for (int q = 0; q < PARTS; q++) {
            const ptrdiff_t place = t * stride + at + q * WIDTH;
            sums[0][q][0] = of_weight * load(block->by_weight + place);
            if (block->by_velocity)
                sums[0][q][0] =
                    fma_(of_velocity, load(block->by_velocity + place), sums[0][q][0]);
        }
        accumulate(1, 1, 1, 0, rows, 0, 0, t, block->gradient + at, stride, PANEL, sums);
        UNROLL for (int q = 0; q < PARTS; q++) {
            vec plus = bias ? load(bias + at + q * WIDTH) : zero();
            store(out + at + q * WIDTH, fma_(sums[0][q][0], multiplier, plus));
        }
    }
}

/* to[t] = by[t] rows[t] */
static void scale_rows(const real *rows, const real *by, int64_t count, ptrdiff_t stride,
                       real *to) {
    for (int64_t t = 0; t < count; t++, rows += stride, to += stride)
        for (ptrdiff_t i = 0; i < stride; i += WIDTH)
            store(to + i, load(rows + i) * broadcast(by[t]));
}

#endif
