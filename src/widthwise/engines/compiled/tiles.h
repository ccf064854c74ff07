/* Products and updates of dense layers, in tiles of fused multiply-adds that live in registers.

   Weights lie in panels, see dense.h. Every sum is one lane, added up in the order of its terms;
   only with one or two rows is it split, see split_of. No gradient of a weight is ever stored: it
   goes from registers into the update. */
#ifndef WIDTHWISE_TILES_H
#define WIDTHWISE_TILES_H

#include "lanes.h"

typedef const real *const *rows_t; /* pointers to rows */

INLINE int64_t padded(int64_t n) { return (n + PANEL - 1) / PANEL * PANEL; }

/* Numbers from one row of a layer's outputs to the next: with a power of two of them all rows would
   compete for the same few places of the first-level cache. */
INLINE int64_t row_length(int64_t n) {
    return padded(n) % (16 * PANEL) ? padded(n) : padded(n) + PANEL;
}

/* ---- Tiles: rows x panels whose sums fit into the registers: 32 with AVX512, 16 with AVX2. */

#define EACH_HEIGHT_TO_6(TILE, p) TILE(1, p) TILE(2, p) TILE(3, p) TILE(4, p) TILE(5, p) TILE(6, p)
#define EACH_HEIGHT_TO_8(TILE, p) EACH_HEIGHT_TO_6(TILE, p) TILE(7, p) TILE(8, p)
#ifdef __AVX512F__
#define FORWARD_TILES(T) EACH_HEIGHT_TO_8(T, 1) EACH_HEIGHT_TO_8(T, 2) EACH_HEIGHT_TO_6(T, 4)
#define UPDATE_TILES(T) T(16, 1) T(8, 2) T(6, 4)
#define FUSED_TILES(T) \
    T(2, 1) T(3, 1) T(4, 1) T(5, 1) T(6, 1) T(2, 2) T(3, 2) T(4, 2) T(5, 2) T(6, 2) T(2, 4)
static const int tallest[] = {0, 8, 8, 0, 6}; /* forward tile of 1, 2 and 4 panels */
enum { TALLEST_FUSED = 6 };
#else
#define FORWARD_TILES(T) EACH_HEIGHT_TO_6(T, 1)
#define UPDATE_TILES(T) T(6, 1)
#define FUSED_TILES(T) T(2, 1) T(3, 1)
static const int tallest[] = {0, 6, 0, 0, 0};
enum { TALLEST_FUSED = 3 };
#endif
enum { MAX_HEIGHT = 16, MAX_PANELS = 4, MAX_VECTORS = MAX_PANELS * PARTS, MAX_SPLIT = 4 };

/* How many sums each output of a forward product in training is split over, to keep both
   multipliers busy with few rows. Of the batch size alone: bits follow from it. */
INLINE int split_of(int64_t batch) { return batch == 1 ? 4 : batch == 2 ? 2 : 1; }

/* Where vector v of adjacent panels begins. */
INLINE ptrdiff_t place(int v, ptrdiff_t panel_stride) {
    return (v / PARTS) * panel_stride + (v % PARTS) * WIDTH;
}

typedef vec sums_t[MAX_HEIGHT][MAX_VECTORS][MAX_SPLIT];

/* The micro-kernel: sums[i][v] += a(i, k) right(k, v) for k in [from, to).
   a(i, k) is rows[i][k], or rows[k][column + i] if BY_COLUMN. With SPLIT > 1 the terms go to
   SPLIT sums in turn, beginning at `from`; what is left over goes to the first. */
INLINE void accumulate(const int HEIGHT, const int PANELS, const int SPLIT, const int BY_COLUMN,
                       rows_t rows, int64_t column, int64_t from, int64_t to, const real *right,
                       ptrdiff_t right_step, ptrdiff_t panel_stride, sums_t sums) {
    const real *row[MAX_HEIGHT];
    if (!BY_COLUMN) {
        UNROLL for (int i = 0; i < HEIGHT; i++) row[i] = rows[i];
    }
#define TERM(k, which)                                                                         \
    {                                                                                          \
        const real *column_of = BY_COLUMN ? one_address(rows[k] + column) : 0;                 \
        vec factor[MAX_VECTORS];                                                               \
        UNROLL for (int v = 0; v < PANELS * PARTS; v++) factor[v] =                            \
            load(right + (k) * right_step + place(v, panel_stride));                           \
        UNROLL for (int i = 0; i < HEIGHT; i++) {                                              \
            vec a = broadcast(BY_COLUMN ? column_of[i] : row[i][k]);                           \
            UNROLL for (int v = 0; v < PANELS * PARTS; v++) sums[i][v][which] =                \
                fma_(a, factor[v], sums[i][v][which]);                                         \
        }                                                                                      \
    }
    const int DEEP = BY_COLUMN ? SPLIT : MAX_SPLIT; /* terms in one turn of the loop */
    int64_t k = from;
    for (; k + DEEP <= to; k += DEEP) {
        UNROLL for (int s = 0; s < DEEP; s++) TERM(k + s, s % SPLIT)
    }
    for (; DEEP > SPLIT && k + SPLIT <= to; k += SPLIT) {
        UNROLL for (int s = 0; s < SPLIT; s++) TERM(k + s, s)
    }
    for (; SPLIT > 1 && k < to; k++) TERM(k, 0)
#undef TERM
}

INLINE vec joined(const int SPLIT, const vec *sums) {
    vec total = sums[0];
    UNROLL for (int s = 1; s < SPLIT; s++) total += sums[s];
    return total;
}

/* ---- Forward: out = multiplier * rows W + bias. */

struct product {
    const real *weight;
    ptrdiff_t panel_stride;
    int64_t depth; /* terms of each sum */
    real multiplier;
    const real *bias; /* or 0 */
    real *out;
    ptrdiff_t out_stride;
};

INLINE struct product at_panel(struct product p, int64_t panel) {
    p.weight += panel * p.panel_stride;
    p.out += panel * PANEL;
    if (p.bias) p.bias += panel * PANEL;
    return p;
}

INLINE vec finished(const struct product *p, vec sum, ptrdiff_t place) {
    return fma_(sum, broadcast(p->multiplier), p->bias ? load(p->bias + place) : zero());
}

/* Terms [from, to) for HEIGHT rows from `row` on; between ranges the sums wait in `out`. */
INLINE void forward_tile(const int HEIGHT, const int PANELS, const int SPLIT,
                         const struct product *p, rows_t rows, int64_t row, int64_t from,
                         int64_t to) {
    sums_t sums;
    real *out = p->out + row * p->out_stride;
    UNROLL for (int i = 0; i < HEIGHT; i++) UNROLL for (int v = 0; v < PANELS * PARTS; v++) {
        UNROLL for (int s = 0; s < SPLIT; s++) sums[i][v][s] = zero();
        if (SPLIT == 1 && from > 0) sums[i][v][0] = load(out + i * p->out_stride + v * WIDTH);
    }
    accumulate(HEIGHT, PANELS, SPLIT, 0, rows + row, 0, from, to, p->weight, PANEL,
               p->panel_stride, sums);
    int last = to == p->depth;
    UNROLL for (int i = 0; i < HEIGHT; i++) UNROLL for (int v = 0; v < PANELS * PARTS; v++) {
        vec sum = joined(SPLIT, sums[i][v]);
        store(out + i * p->out_stride + v * WIDTH, last ? finished(p, sum, v * WIDTH) : sum);
    }
}

typedef void forward_function(const struct product *, rows_t, int64_t, int64_t, int64_t);

#define DEFINE(height, panels)                                                                 \
    NOINLINE void forward_##height##_##panels(const struct product *p, rows_t rows,            \
                                              int64_t row, int64_t from, int64_t to) {         \
        forward_tile(height, panels, 1, p, rows, row, from, to);                               \
    }
FORWARD_TILES(DEFINE)
#undef DEFINE
#define ENTRY(height, panels) [height][panels] = forward_##height##_##panels,
static forward_function *const forward_tiles[9][MAX_PANELS + 1] = {FORWARD_TILES(ENTRY)};
#undef ENTRY

/* One and two rows in training, whose sums are split. */
#define DEFINE(height, panels)                                                                 \
    NOINLINE void split_##height##_##panels(const struct product *p, rows_t rows, int64_t row, \
                                            int64_t from, int64_t to) {                        \
        forward_tile(height, panels, height == 1 ? 4 : 2, p, rows, row, from, to);             \
    }
DEFINE(1, 1) DEFINE(2, 1)
#ifdef __AVX512F__
DEFINE(1, 2) DEFINE(2, 2) DEFINE(1, 4) DEFINE(2, 4)
static forward_function *const split_tiles[3][MAX_PANELS + 1] = {
    [1] = {0, split_1_1, split_1_2, 0, split_1_4}, [2] = {0, split_2_1, split_2_2, 0, split_2_4}};
#else
static forward_function *const split_tiles[3][MAX_PANELS + 1] = {
    [1] = {0, split_1_1}, [2] = {0, split_2_1}};
#endif
#undef DEFINE

/* How many panels to take at once of those that are left. */
INLINE int panels_at_once(int64_t left, int64_t batch) {
    int two_hold_all = batch > tallest[4] && batch <= tallest[2];
    if (tallest[4] && left >= 4 && !two_hold_all) return 4;
    return tallest[2] && left >= 2 ? 2 : 1;
}

/* Terms [from, to) of `count` panels, whole rows of tiles of nearly equal height. */
static void forward_range(const struct product *all, int64_t count, rows_t rows, int64_t batch,
                          int split, int64_t from, int64_t to) {
    for (int64_t panel = 0; panel < count;) {
        int panels = panels_at_once(count - panel, batch);
        struct product p = at_panel(*all, panel);
        if (split > 1) {
            split_tiles[batch][panels](&p, rows, 0, from, to);
        } else {
            int64_t tiles = (batch + tallest[panels] - 1) / tallest[panels], row = 0;
            for (int64_t left = tiles; left > 0; left--) {
                int64_t height = (batch - row + left - 1) / left;
                forward_tiles[height][panels](&p, rows, row, from, to);
                row += height;
            }
        }
        panel += panels;
    }
}

/* Rows of the weights that stay in the first-level cache while all tiles of a batch pass: whole
   update tiles. */
INLINE int64_t rows_in_cache(int panels) { return panels == 4 ? 112 : 240; }

/* Rows of a batch that stay in the second-level cache, all their inputs. */
enum { ROWS_AT_ONCE = 48 };

static void forward(const struct product *all, int64_t count, rows_t rows, int64_t batch,
                    int split) {
    if (batch <= 2 * tallest[1]) {
        forward_range(all, count, rows, batch, split, 0, all->depth);
        return;
    }
    for (int64_t row = 0; row < batch; row += ROWS_AT_ONCE) {
        const int64_t some = batch - row < ROWS_AT_ONCE ? batch - row : ROWS_AT_ONCE;
        for (int64_t panel = 0; panel < count;) {
            int panels = panels_at_once(count - panel, some);
            struct product p = at_panel(*all, panel);
            p.out += row * p.out_stride;
            int64_t block = rows_in_cache(panels);
            for (int64_t from = 0; from < p.depth; from += block) {
                int64_t to = from + block < p.depth ? from + block : p.depth;
                forward_range(&p, panels, rows + row, some, split, from, to);
            }
            panel += panels;
        }
    }
}

/* ---- Update, as torch.optim.SGD: g += decay w; v = momentum v + g; w -= rate (g + momentum v)
   with Nesterov's momentum, w -= rate v without. */

enum mode {
    PLAIN,
    MOMENTUM,
    GENERAL,
    ADDED,   /* the gradient has been scaled by the step, and is added term by term */
    OF_BLOCK /* of many steps, see blocks.h */
};

struct rule {
    enum mode mode;
    real step; /* minus the learning rate */
    real momentum, decay;
    real of_gradient, of_velocity; /* parts of the step, GENERAL only */
};

INLINE vec updated(const int MODE, const struct rule *rule, vec gradient, real *weight,
                   real *velocity) {
    vec w = load(weight), step = broadcast(rule->step);
    if (MODE == PLAIN) {
        w = fma_(step, gradient, w);
    } else {
        if (MODE == GENERAL) gradient = fma_(broadcast(rule->decay), w, gradient);
        vec v = fma_(broadcast(rule->momentum), load(velocity), gradient);
        store(velocity, v);
        if (MODE == GENERAL)
            v = fma_(broadcast(rule->of_velocity), v, broadcast(rule->of_gradient) * gradient);
        w = fma_(step, v, w);
    }
    store(weight, w);
    return w;
}

struct update {
    rows_t rows; /* what the layer was fed */
    const real *gradient;
    ptrdiff_t gradient_stride;
    int64_t batch;
    real *weight, *velocity; /* the velocity is not used in the modes PLAIN and ADDED */
    ptrdiff_t panel_stride;
    const struct rule *rule;
    enum mode mode;
    /* OF_BLOCK only: W becomes of_weight W + of_velocity V + rows' gradient, V likewise. */
    const real *velocity_gradient;
    real of_weight, of_velocity, velocity_of_weight, velocity_of_velocity;
};

INLINE struct update update_at_panel(struct update u, int64_t panel) {
    u.gradient += panel * PANEL;
    if (u.velocity_gradient) u.velocity_gradient += panel * PANEL;
    u.weight += panel * u.panel_stride;
    u.velocity += panel * u.panel_stride;
    return u;
}

INLINE void update_tile(const int HEIGHT, const int PANELS, const int MODE,
                        const struct update *u, int64_t first) {
    const ptrdiff_t panel_stride = u->panel_stride;
    real *weight = u->weight + first * PANEL, *velocity = u->velocity + first * PANEL;
    sums_t sums;
    UNROLL for (int i = 0; i < HEIGHT; i++) UNROLL for (int v = 0; v < PANELS * PARTS; v++) {
        const ptrdiff_t at = place(v, panel_stride) + i * PANEL;
        sums[i][v][0] = MODE == ADDED ? load(weight + at) : zero();
        if (MODE == OF_BLOCK) {
            vec w = load(weight + at), old = load(velocity + at);
            sums[i][v][0] = fma_(broadcast(u->of_weight), w, broadcast(u->of_velocity) * old);
            store(velocity + at, fma_(broadcast(u->velocity_of_weight), w,
                                      broadcast(u->velocity_of_velocity) * old));
        }
    }
    accumulate(HEIGHT, PANELS, 1, 1, u->rows, first, 0, u->batch, u->gradient, u->gradient_stride,
               PANEL, sums);
    const struct rule rule = *u->rule; /* a copy, which no store can change */
    UNROLL for (int i = 0; i < HEIGHT; i++) UNROLL for (int v = 0; v < PANELS * PARTS; v++) {
        const ptrdiff_t at = place(v, panel_stride) + i * PANEL;
        if (MODE == ADDED || MODE == OF_BLOCK) store(weight + at, sums[i][v][0]);
        else updated(MODE, &rule, sums[i][v][0], weight + at, velocity + at);
        if (MODE == OF_BLOCK) sums[i][v][0] = load(velocity + at);
    }
    if (MODE == OF_BLOCK) {
        accumulate(HEIGHT, PANELS, 1, 1, u->rows, first, 0, u->batch, u->velocity_gradient,
                   u->gradient_stride, PANEL, sums);
        UNROLL for (int i = 0; i < HEIGHT; i++) UNROLL for (int v = 0; v < PANELS * PARTS; v++)
            store(velocity + place(v, panel_stride) + i * PANEL, sums[i][v][0]);
    }
}

INLINE void update_tiles(const int HEIGHT, const int PANELS, const int MODE,
                         const struct update *u, int64_t from, int64_t to) {
    for (; from + HEIGHT <= to; from += HEIGHT) update_tile(HEIGHT, PANELS, MODE, u, from);
    for (; from + 4 <= to; from += 4) update_tile(4, PANELS, MODE, u, from);
    for (; from < to; from++) update_tile(1, PANELS, MODE, u, from);
}

typedef void update_function(const struct update *, int64_t, int64_t);

#define EACH_MODE(M, height, panels)                                                           \
    M(height, panels, PLAIN) M(height, panels, MOMENTUM) M(height, panels, GENERAL)            \
    M(height, panels, ADDED) M(height, panels, OF_BLOCK)
#define DEFINE_MODE(height, panels, mode)                                                      \
    NOINLINE void update_##mode##_##panels(const struct update *u, int64_t from, int64_t to) { \
        update_tiles(height, panels, mode, u, from, to);                                       \
    }
#define DEFINE(height, panels) EACH_MODE(DEFINE_MODE, height, panels)
UPDATE_TILES(DEFINE)
#undef DEFINE
#undef DEFINE_MODE
#define ENTRY_MODE(height, panels, mode) [mode][panels] = update_##mode##_##panels,
#define ENTRY(height, panels) EACH_MODE(ENTRY_MODE, height, panels)
static update_function *const update_rows[OF_BLOCK + 1][MAX_PANELS + 1] = {UPDATE_TILES(ENTRY)};
#undef ENTRY
#undef ENTRY_MODE
#undef EACH_MODE

static void update(const struct update *all, int64_t inputs, int64_t count) {
    /* Few inputs at a time, so that those of a large batch stay in the second-level cache. */
    const int64_t block = all->batch > ROWS_AT_ONCE ? rows_in_cache(1) : inputs;
    for (int64_t from = 0; from < inputs; from += block) {
        const int64_t to = from + block < inputs ? from + block : inputs;
        for (int64_t panel = 0; panel < count;) {
            int panels = panels_at_once(count - panel, 1);
            struct update u = update_at_panel(*all, panel);
            update_rows[u.mode][panels](&u, from, to);
            panel += panels;
        }
    }
}

/* sum over the batch, which is the gradient of a bias */
static void update_bias(const struct rule *rule, const real *gradient, int64_t outputs,
                        int64_t batch, real *bias, real *velocity) {
    const ptrdiff_t stride = row_length(outputs);
    for (ptrdiff_t at = 0; at < padded(outputs); at += WIDTH) {
        vec sum = zero();
        for (int64_t b = 0; b < batch; b++) sum += load(gradient + b * stride + at);
        switch (rule->mode) {
        case MOMENTUM: updated(MOMENTUM, rule, sum, bias + at, velocity + at); break;
        case GENERAL: updated(GENERAL, rule, sum, bias + at, velocity + at); break;
        default: updated(PLAIN, rule, sum, bias + at, velocity);
        }
    }
}

/* ---- One layer's update and its forward product of the next step in one pass. */

INLINE void fused_tile(const int HEIGHT, const int PANELS, const int MODE,
                       const struct update *u, const struct product *p, rows_t next_rows) {
    const int SPLIT = HEIGHT == 2 ? 2 : 1; /* split_of, as a constant */
    enum { MAX_BLOCK = 4 };
    const int BLOCK = PANELS * PARTS >= 4 ? SPLIT : SPLIT > 4 / (PANELS * PARTS) ? SPLIT : 4 / (PANELS * PARTS);
    sums_t sums;
    vec gradient[MAX_HEIGHT][MAX_VECTORS];
    const real *row[MAX_HEIGHT], *next[MAX_HEIGHT];
    UNROLL for (int i = 0; i < HEIGHT; i++) {
        row[i] = u->rows[i];
        next[i] = next_rows[i];
        UNROLL for (int v = 0; v < PANELS * PARTS; v++) {
            gradient[i][v] = load(u->gradient + i * u->gradient_stride + v * WIDTH);
            UNROLL for (int s = 0; s < SPLIT; s++) sums[i][v][s] = zero();
        }
    }
    real *weight = u->weight, *velocity = u->velocity;
    const struct rule rule = *u->rule;
    const ptrdiff_t panel_stride = u->panel_stride;
    const int64_t depth = p->depth;
/* BLOCK rows of the weights at once: first all their updates, whose sums are independent of each
   other, then their products. */
#define ROWS(BLOCK)                                                                            \
    {                                                                                          \
        vec w[MAX_BLOCK][MAX_VECTORS];                                                         \
        UNROLL for (int j = 0; j < (BLOCK); j++)                                               \
            UNROLL for (int v = 0; v < PANELS * PARTS; v++) w[j][v] = zero();                  \
        UNROLL for (int i = 0; i < HEIGHT; i++)                                                \
            UNROLL for (int j = 0; j < (BLOCK); j++) {                                         \
                vec a = broadcast(row[i][k + j]);                                              \
                UNROLL for (int v = 0; v < PANELS * PARTS; v++)                                \
                    w[j][v] = fma_(a, gradient[i][v], w[j][v]);                                \
            }                                                                                  \
        UNROLL for (int j = 0; j < (BLOCK); j++)                                               \
            UNROLL for (int v = 0; v < PANELS * PARTS; v++) {                                  \
                ptrdiff_t at = place(v, panel_stride) + (k + j) * PANEL;                       \
                w[j][v] = updated(MODE, &rule, w[j][v], weight + at, velocity + at);           \
            }                                                                                  \
        UNROLL for (int j = 0; j < (BLOCK); j++)                                               \
            UNROLL for (int i = 0; i < HEIGHT; i++) {                                          \
                vec a = broadcast(next[i][k + j]);                                             \
                UNROLL for (int v = 0; v < PANELS * PARTS; v++) sums[i][v][j % SPLIT] =        \
                    fma_(a, w[j][v], sums[i][v][j % SPLIT]);                                   \
            }                                                                                  \
    }
    int64_t k = 0;
    for (; k + BLOCK <= depth; k += BLOCK) ROWS(BLOCK)
    for (; BLOCK > SPLIT && k + SPLIT <= depth; k += SPLIT) ROWS(SPLIT)
    for (; k < depth; k++) ROWS(1)
#undef ROWS
    UNROLL for (int i = 0; i < HEIGHT; i++) UNROLL for (int v = 0; v < PANELS * PARTS; v++) {
        vec sum = joined(SPLIT, sums[i][v]);
        store(p->out + i * p->out_stride + v * WIDTH, finished(p, sum, v * WIDTH));
    }
}

typedef void fused_function(const struct update *, const struct product *, rows_t);

#define DEFINE_MODE(height, panels, mode)                                                      \
    NOINLINE void fused_##mode##_##height##_##panels(                                          \
        const struct update *u, const struct product *p, rows_t next_rows) {                   \
        fused_tile(height, panels, mode, u, p, next_rows);                                     \
    }
#define DEFINE(height, panels)                                                                 \
    DEFINE_MODE(height, panels, PLAIN)                                                         \
    DEFINE_MODE(height, panels, MOMENTUM) DEFINE_MODE(height, panels, GENERAL)
FUSED_TILES(DEFINE)
#undef DEFINE
#undef DEFINE_MODE
#define ENTRY(height, panels)                                                                  \
    [PLAIN][height][panels] = fused_PLAIN_##height##_##panels,                                 \
    [MOMENTUM][height][panels] = fused_MOMENTUM_##height##_##panels,                           \
    [GENERAL][height][panels] = fused_GENERAL_##height##_##panels,
static fused_function *const fused_tiles[GENERAL + 1][TALLEST_FUSED + 1][MAX_PANELS + 1] = {
    FUSED_TILES(ENTRY)};
#undef ENTRY

/* For batches that a tile does not hold: range by range of the weights' rows, which stay in the
   first-level cache between their update and their product. */
static void update_and_forward_range(const struct update *updates, const struct product *product,
                                     int64_t count, rows_t next_rows, int64_t from, int64_t to) {
    for (int64_t panel = 0; panel < count;) {
        int panels = panels_at_once(count - panel, 1);
        const struct product p = at_panel(*product, panel);
        const struct update u = update_at_panel(*updates, panel);
        const int64_t block = rows_in_cache(panels);
        for (int64_t some = from; some < to; some += block) {
            int64_t end = some + block < to ? some + block : to;
            update_rows[u.mode][panels](&u, some, end);
            forward_range(&p, panels, next_rows, u.batch, 1, some, end);
        }
        panel += panels;
    }
}

/* For batches of two rows and more. */
static void update_and_forward(const struct update *updates, const struct product *product,
                               int64_t count, rows_t next_rows) {
    const int64_t batch = updates->batch, depth = product->depth;
    if (batch > TALLEST_FUSED) { /* large ones with few inputs at a time, as in `update` */
        const int64_t block = batch > ROWS_AT_ONCE ? rows_in_cache(1) : depth;
        for (int64_t from = 0; from < depth; from += block)
            update_and_forward_range(updates, product, count, next_rows, from,
                                     from + block < depth ? from + block : depth);
        return;
    }
    for (int64_t panel = 0; panel < count;) {
        int panels = panels_at_once(count - panel, 1);
        while (!fused_tiles[0][batch][panels]) panels /= 2;
        const struct product p = at_panel(*product, panel);
        const struct update u = update_at_panel(*updates, panel);
        fused_tiles[u.mode][batch][panels](&u, &p, next_rows);
        panel += panels;
    }
}

/* ---- Backward product: down = gradient W', (batch, inputs). */

/* As sums along outputs, for few rows: all that follows reads W where it lies. */
static void backward_by_dots(const real *weight, ptrdiff_t panel_stride, int64_t inputs,
                             int64_t outputs, const real *gradient, int64_t batch, real *down) {
    enum { TOGETHER = PARTS == 1 ? 16 : 4 }; /* sums that fit into the registers */
    const int64_t panels = padded(outputs) / PANEL;
    const ptrdiff_t stride = row_length(outputs), down_stride = row_length(inputs);
    for (int64_t j = 0; j < inputs; j += PANEL)
        for (int64_t b = 0; b < batch; b++) {
            const real *g = gradient + b * stride;
            vec each[PANEL];
            UNROLL for (int first = 0; first < PANEL; first += TOGETHER) {
                vec sums[TOGETHER][PARTS];
                UNROLL for (int i = 0; i < TOGETHER; i++)
                    UNROLL for (int q = 0; q < PARTS; q++) sums[i][q] = zero();
                const real *w = weight + (j + first) * PANEL;
                for (int64_t panel = 0; panel < panels; panel++, w += panel_stride)
                    UNROLL for (int q = 0; q < PARTS; q++) {
                        vec part = load(g + panel * PANEL + q * WIDTH);
                        UNROLL for (int i = 0; i < TOGETHER; i++) sums[i][q] =
                            fma_(part, load(w + i * PANEL + q * WIDTH), sums[i][q]);
                    }
                UNROLL for (int i = 0; i < TOGETHER; i++) each[first + i] = sum_parts(sums[i]);
            }
            UNROLL for (int q = 0; q < PARTS; q++)
                store(down + b * down_stride + j + q * WIDTH, sum_each(each + q * WIDTH));
        }
}

/* W' in panels of 16 inputs, [inputs / 16][outputs][16]. */
static void transpose(const real *weight, ptrdiff_t panel_stride, int64_t inputs, int64_t outputs,
                      real *to) {
    for (int64_t j = 0; j < inputs; j += WIDTH)
        for (int64_t k = 0; k < outputs; k += WIDTH) {
            const real *from = weight + k / PANEL * panel_stride + j * PANEL + k % PANEL;
            real *at = to + j / PANEL * outputs * PANEL + k * PANEL + j % PANEL;
            vec block[WIDTH];
            UNROLL for (int i = 0; i < WIDTH; i++) block[i] = load(from + i * PANEL);
            transpose_vectors(block);
            UNROLL for (int i = 0; i < WIDTH; i++) store(at + i * PANEL, block[i]);
        }
}

/* Transposing costs about as much as sixteen rows' additions across lanes, and reading W once a row
   more than that where sixteen of its rows leave the first-level cache. */
INLINE int by_dots(int64_t batch, int64_t outputs) {
    return batch * PANEL <= outputs && (batch <= 4 || outputs <= 256);
}

#endif
