/* Operators of networks in integers of 8 bits: see kernels.h. Sums of products are exact in 32 bits. */
#include "kernels.h"

#include <string.h>

#if (-1 >> 1) != -1
#error "the right shift of negative numbers must be arithmetic, as it is with every compiler for these processors"
#endif

#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#endif

static inline int32_t requantise(int32_t sum, int32_t factor, int32_t shift) {
    return (int32_t)(((int64_t)sum * factor + ((int64_t)1 << (shift - 1))) >> shift);
}

static inline int8_t clamped(int32_t q, int32_t low, int32_t high) {
    return (int8_t)(q < low ? low : q > high ? high : q);
}

static inline int8_t finished(const layer_t *l, int32_t sum, int32_t output) {
    return clamped(requantise(sum, l->factor[output], l->shift[output]) + l->out_zero, l->low, l->high);
}

void entry(const uint8_t *pixels, const int8_t *table, int32_t count, int32_t channels, int8_t *y) {
    for (int32_t i = 0; i < count; i++)
        for (int32_t c = 0; c < channels; c++, pixels++) *y++ = table[c * 256 + *pixels];
}

#if defined(__ARM_FEATURE_DSP)
static inline uint32_t four(const int8_t *p) {
    uint32_t bytes;
    memcpy(&bytes, p, 4);
    return bytes;
}

static inline uint32_t turned(uint32_t bytes) {
    return bytes >> 8 | bytes << 24;
}

static inline int32_t products(uint32_t w, int16x2_t even, int16x2_t odd, int32_t sum) {
    return __smlad(__sxtb16(turned(w)), odd, __smlad(__sxtb16(w), even, sum));
}
#endif

/* Adds the products of x with four rows of weights, n apart, to four sums. */
static void four_rows(const int8_t *x, const int8_t *w, int32_t n, int32_t *sums) {
    const int8_t *w0 = w, *w1 = w + n, *w2 = w + 2 * n, *w3 = w + 3 * n;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
#if defined(__ARM_FEATURE_DSP)
    for (; n >= 4; n -= 4) {
        const uint32_t bytes = four(x);
        const int16x2_t even = __sxtb16(bytes), odd = __sxtb16(turned(bytes));
        s0 = products(four(w0), even, odd, s0);
        s1 = products(four(w1), even, odd, s1);
        s2 = products(four(w2), even, odd, s2);
        s3 = products(four(w3), even, odd, s3);
        x += 4, w0 += 4, w1 += 4, w2 += 4, w3 += 4;
    }
#endif
    for (; n > 0; n--) {
        const int32_t q = *x++;
        s0 += q * *w0++;
        s1 += q * *w1++;
        s2 += q * *w2++;
        s3 += q * *w3++;
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

static int32_t one_row(const int8_t *x, const int8_t *w, int32_t n, int32_t sum) {
#if defined(__ARM_FEATURE_DSP)
    for (; n >= 4; n -= 4, x += 4, w += 4) {
        const uint32_t bytes = four(x);
        sum = products(four(w), __sxtb16(bytes), __sxtb16(turned(bytes)), sum);
    }
#endif
    for (; n > 0; n--) sum += *x++ * *w++;
    return sum;
}

/* What an output pixel reads of the channels from `first`, with the zero of the input where it reads padding. */
static void gather(const layer_t *l, const int8_t *x, int32_t row, int32_t column, int32_t first, int32_t channels,
                   int8_t *patch) {
    const int32_t top = row * l->stride_height - l->padding_height, left = column * l->stride_width - l->padding_width;
    for (int32_t i = 0; i < l->kernel_height; i++) {
        const int32_t h = top + i * l->dilation_height;
        for (int32_t j = 0; j < l->kernel_width; j++, patch += channels) {
            const int32_t w = left + j * l->dilation_width;
            if (h < 0 || h >= l->in_height || w < 0 || w >= l->in_width)
                memset(patch, l->in_zero, (size_t)channels);
            else
                memcpy(patch, x + (h * l->in_width + w) * l->in_channels + first, (size_t)channels);
        }
    }
}

void conv(const layer_t *l, const int8_t *x, int8_t *patch, int8_t *y) {
    const int32_t channels = l->in_channels / l->groups, outputs = l->out_channels / l->groups;
    const int32_t n = l->kernel_height * l->kernel_width * channels;
    for (int32_t row = 0; row < l->out_height; row++)
        for (int32_t column = 0; column < l->out_width; column++)
            for (int32_t group = 0, o = 0; group < l->groups; group++) {
                const int8_t *read = x + (row * l->stride_height * l->in_width + column * l->stride_width) * channels;
                if (patch) {
                    gather(l, x, row, column, group * channels, channels, patch);
                    read = patch;
                }
                const int32_t end = (group + 1) * outputs;
                for (; o + 4 <= end; o += 4) {
                    int32_t sums[4] = {l->bias[o], l->bias[o + 1], l->bias[o + 2], l->bias[o + 3]};
                    four_rows(read, l->weight + o * n, n, sums);
                    for (int32_t k = 0; k < 4; k++) *y++ = finished(l, sums[k], o + k);
                }
                for (; o < end; o++) *y++ = finished(l, one_row(read, l->weight + o * n, n, l->bias[o]), o);
            }
}

/* The kernel's rows (or columns) that lie on the map, for an output row (or column). */
static inline void on_map(int32_t at, int32_t size, int32_t kernel, int32_t dilation, int32_t *first, int32_t *end) {
    *first = at >= 0 ? 0 : (-at + dilation - 1) / dilation;
    *end = at + (kernel - 1) * dilation < size ? kernel : (size - at + dilation - 1) / dilation;
}

void depthwise(const layer_t *l, const int8_t *x, int8_t *y) {
    const int32_t channels = l->in_channels;
    for (int32_t row = 0; row < l->out_height; row++)
        for (int32_t column = 0; column < l->out_width; column++) {
            const int32_t top = row * l->stride_height - l->padding_height;
            const int32_t left = column * l->stride_width - l->padding_width;
            int32_t i0, i1, j0, j1;
            on_map(top, l->in_height, l->kernel_height, l->dilation_height, &i0, &i1);
            on_map(left, l->in_width, l->kernel_width, l->dilation_width, &j0, &j1);
            for (int32_t c = 0; c < channels; c++) {
                int32_t sum = l->bias[c];
                for (int32_t i = i0; i < i1; i++) {
                    const int32_t start = (top + i * l->dilation_height) * l->in_width + left;
                    const int8_t *read = x + (start + j0 * l->dilation_width) * channels + c;
                    const int8_t *w = l->weight + (i * l->kernel_width + j0) * channels + c;
                    for (int32_t j = j0; j < j1; j++, read += l->dilation_width * channels, w += channels)
                        sum += (*read - l->in_zero) * *w;
                }
                *y++ = finished(l, sum, c);
            }
        }
}

void max_pool(const layer_t *l, const int8_t *x, int8_t *y) {
    for (int32_t row = 0; row < l->out_height; row++)
        for (int32_t column = 0; column < l->out_width; column++) {
            const int32_t top = row * l->stride_height - l->padding_height;
            const int32_t left = column * l->stride_width - l->padding_width;
            int32_t i0, i1, j0, j1;
            on_map(top, l->in_height, l->kernel_height, 1, &i0, &i1);
            on_map(left, l->in_width, l->kernel_width, 1, &j0, &j1);
            for (int32_t c = 0; c < l->in_channels; c++) {
                int8_t largest = -128;
                for (int32_t i = i0; i < i1; i++)
                    for (int32_t j = j0; j < j1; j++) {
                        const int8_t q = x[((top + i) * l->in_width + left + j) * l->in_channels + c];
                        if (q > largest) largest = q;
                    }
                *y++ = largest;
            }
        }
}

/* Means are rounded to the nearest integer, halves to even. With other_zero, padding counts. */
void average_pool(const layer_t *l, const int8_t *x, int8_t *y) {
    const int32_t area = l->kernel_height * l->kernel_width;
    for (int32_t row = 0; row < l->out_height; row++)
        for (int32_t column = 0; column < l->out_width; column++) {
            const int32_t top = row * l->stride_height - l->padding_height;
            const int32_t left = column * l->stride_width - l->padding_width;
            int32_t i0, i1, j0, j1;
            on_map(top, l->in_height, l->kernel_height, 1, &i0, &i1);
            on_map(left, l->in_width, l->kernel_width, 1, &j0, &j1);
            const int32_t on = (i1 - i0) * (j1 - j0), count = l->other_zero ? area : on;
            for (int32_t c = 0; c < l->in_channels; c++) {
                int32_t sum = l->in_zero * (count - on) + 128 * count;
                for (int32_t i = i0; i < i1; i++)
                    for (int32_t j = j0; j < j1; j++)
                        sum += x[((top + i) * l->in_width + left + j) * l->in_channels + c];
                int32_t q = sum / count;
                const int32_t twice = 2 * (sum - q * count);
                if (twice > count || (twice == count && (q & 1))) q++;
                *y++ = (int8_t)(q - 128);
            }
        }
}

void mean(const layer_t *l, const int8_t *x, int8_t *y) {
    const int32_t pixels = l->in_height * l->in_width;
    for (int32_t c = 0; c < l->in_channels; c++) {
        int32_t sum = -pixels * l->in_zero;
        for (int32_t i = 0; i < pixels; i++) sum += x[i * l->in_channels + c];
        y[c] = finished(l, sum, 0);
    }
}

void add(const layer_t *l, const int8_t *a, const int8_t *b, int8_t *y) {
    const int32_t count = l->in_height * l->in_width * l->in_channels, half = (int32_t)1 << (l->shift[0] - 1);
    for (int32_t i = 0; i < count; i++) {
        const int32_t sum = (a[i] - l->in_zero) * l->factor[0] + (b[i] - l->other_zero) * l->factor[1];
        y[i] = clamped(((sum + half) >> l->shift[0]) + l->out_zero, l->low, l->high);
    }
}

/* Number by number; with groups 0, b is one pixel, whose numbers are for whole channels of a. */
void multiply(const layer_t *l, const int8_t *a, const int8_t *b, int8_t *y) {
    const int32_t pixels = l->in_height * l->in_width, channels = l->in_channels;
    for (int32_t i = 0; i < pixels; i++, b += l->groups ? channels : 0)
        for (int32_t c = 0; c < channels; c++)
            *y++ = finished(l, (*a++ - l->in_zero) * (b[c] - l->other_zero), 0);
}

void look_up(const layer_t *l, const int8_t *x, int8_t *y) {
    const int32_t count = l->in_height * l->in_width * l->in_channels;
    for (int32_t i = 0; i < count; i++) y[i] = l->weight[x[i] + 128];
}

void take(const layer_t *l, const int8_t *x, int8_t *y) {
    const int32_t pixels = l->in_height * l->in_width;
    for (int32_t i = 0; i < pixels; i++, x += l->in_channels)
        for (int32_t c = 0; c < l->out_channels; c++) *y++ = x[l->factor[c]];
}

/* To another grid, into maps that may have more channels. */
void rescale(const layer_t *l, const int8_t *x, int8_t *y) {
    const int32_t pixels = l->in_height * l->in_width;
    for (int32_t i = 0; i < pixels; i++, y += l->out_channels - l->in_channels)
        for (int32_t c = 0; c < l->in_channels; c++) *y++ = finished(l, *x++ - l->in_zero, 0);
}
