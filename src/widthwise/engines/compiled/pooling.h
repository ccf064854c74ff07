/* 2x2 max-pooling with a bias and a rectifier, and its gradient: shared with Python (library.py).

   Images are channels-last, reals float or double as the function's name says. An odd last row or
   column takes no part. */
#ifndef WIDTHWISE_POOLING_H
#define WIDTHWISE_POOLING_H

#include <stdint.h>

/* Before pooling: height and width are at least 2, channels fill at least one vector. */
struct images {
    int64_t batch, height, width, channels;
};

/* out = max-pool(image) + bias, then its positive part if rectify. NaN wins; among equals the
   first.
     image   (batch, height, width, channels)
     bias    (channels), or 0 for none
     out     (batch, height / 2, width / 2, channels)
     chosen  the same: which of the four, row by row, or 4 where the rectifier cut */
#define WIDTHWISE_POOL(name)                                                                   \
    void name(const struct images *, const void *image, const void *bias, int64_t rectify,     \
              void *out, uint8_t *chosen)

/* The transpose of its derivative.
     gradient  (batch, height / 2, width / 2, channels)
     chosen    as above
     to_image  (batch, height, width, channels), overwritten
     to_bias   (2, channels), overwritten: the bias's gradient, and room for one image's sums */
#define WIDTHWISE_POOL_BACKWARD(name)                                                          \
    void name(const struct images *, const void *gradient, const uint8_t *chosen,              \
              void *to_image, void *to_bias)

#endif
