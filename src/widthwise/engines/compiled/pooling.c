/* 2x2 max-pooling with a bias and a rectifier: one pass forward, one backward.

   max-pool(x + b) = max-pool(x) + b, so the bias is added to a quarter of the numbers. For n
   numbers before pooling in float 4n bytes are read and 1 1/4 n written forward, 1 1/4 n read and
   4n written backward. That is what a pass waits for: built for AVX2 alone, it serves networks of
   eight channels too. */
#include "pooling.h"

#include <string.h>

#include "lanes.h"

enum { CUT = 4 }; /* instead of one of the four pixels, which are numbered row by row */

/* Channels are taken by whole vectors; the last one overlaps the one before. */
INLINE int64_t beginning(int64_t n, int64_t channels) {
    return n + WIDTH <= channels ? n : channels - WIDTH;
}

/* Takes pixel `number` where it is larger, or NaN. NaN stays, because nothing is larger. */
INLINE void take_larger(vec pixel, whole number, vec *largest, wholes *which) {
    const wholes larger = (pixel > *largest) | (pixel != pixel);
    *largest = choose(larger, pixel, *largest);
    *which = (larger & number) | (~larger & *which);
}

/* `upper` and `lower` are the left pixels of a window. */
INLINE void pool_window(const real *upper, const real *lower, int64_t channels, vec bias,
                        int rectify, real *out, uint8_t *chosen) {
    vec largest = load(upper);
    wholes which = {0};
    take_larger(load(upper + channels), 1, &largest, &which);
    take_larger(load(lower), 2, &largest, &which);
    take_larger(load(lower + channels), 3, &largest, &which);
    largest += bias;
    if (rectify) {
        const wholes cut = largest <= zero(); /* not NaN */
        largest = choose(cut, zero(), largest);
        which = (cut & CUT) | (~cut & which);
    }
    store(out, largest);
    store_bytes(chosen, which);
}

INLINE void pool(const struct images *of, const real *image, const real *bias, int rectify,
                 real *out, uint8_t *chosen) {
    const int64_t channels = of->channels, row = of->width * channels;
    for (int64_t b = 0; b < of->batch; b++, image += of->height * row)
        for (int64_t i = 0; i + 1 < of->height; i += 2)
            for (int64_t j = 0; j + 1 < of->width; j += 2) {
                const real *pixel = image + i * row + j * channels;
                for (int64_t n = 0; n < channels; n += WIDTH) {
                    const int64_t at = beginning(n, channels);
                    pool_window(pixel + at, pixel + row + at, channels,
                                bias ? load(bias + at) : zero(), rectify, out + at, chosen + at);
                }
                out += channels;
                chosen += channels;
            }
}

static void pool_backward(const struct images *of, const real *gradient, const uint8_t *chosen,
                          real *to_image, real *to_bias) {
    const int64_t channels = of->channels, row = of->width * channels;
    real *sums = to_bias + channels; /* of one image: a long sum in float loses digits */
    memset(to_bias, 0, channels * sizeof(real));
    for (int64_t b = 0; b < of->batch; b++, to_image += of->height * row) {
        memset(sums, 0, channels * sizeof(real));
        for (int64_t i = 0; i + 1 < of->height; i += 2) {
            real *pixel = to_image + i * row;
            for (int64_t j = 0; j + 1 < of->width; j += 2, pixel += 2 * channels) {
                for (int64_t n = 0; n < channels; n += WIDTH) {
                    const int64_t at = beginning(n, channels);
                    const vec g = load(gradient + at);
                    const wholes which = load_bytes(chosen + at);
                    real *upper = pixel + at, *lower = upper + row;
                    store(upper, choose(which == 0, g, zero()));
                    store(upper + channels, choose(which == 1, g, zero()));
                    store(lower, choose(which == 2, g, zero()));
                    store(lower + channels, choose(which == 3, g, zero()));
                    /* Lanes that overlap have been added. */
                    const wholes passed = (which != CUT) & (lane_numbers() >= (whole)(n - at));
                    store(sums + at, load(sums + at) + choose(passed, g, zero()));
                }
                gradient += channels;
                chosen += channels;
            }
            if (of->width % 2) {
                memset(pixel, 0, channels * sizeof(real));
                memset(pixel + row, 0, channels * sizeof(real));
            }
        }
        if (of->height % 2) memset(to_image + (of->height - 1) * row, 0, row * sizeof(real));
        for (int64_t n = 0; n < channels; n++) to_bias[n] += sums[n];
    }
}

WIDTHWISE_POOL(NAMED(widthwise_pool));
WIDTHWISE_POOL_BACKWARD(NAMED(widthwise_pool_backward));

void NAMED(widthwise_pool)(const struct images *of, const void *image, const void *bias,
                           int64_t rectify, void *out, uint8_t *chosen) {
    if (rectify)
        pool(of, image, bias, 1, out, chosen);
    else
        pool(of, image, bias, 0, out, chosen);
}

void NAMED(widthwise_pool_backward)(const struct images *of, const void *gradient,
                                    const uint8_t *chosen, void *to_image, void *to_bias) {
    pool_backward(of, gradient, chosen, to_image, to_bias);
}
