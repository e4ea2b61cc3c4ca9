/* Operators of networks in integers of 8 bits. Maps lie row by row, pixel by pixel, the channels of a pixel together. */
#ifndef KERNELS_H
#define KERNELS_H

#include <stdint.h>

/* What an operator reads, makes and multiplies with; fields that it has no use for are 0. */
typedef struct {
    int32_t in_channels, out_channels;
    int16_t in_height, in_width, in_zero;
    int16_t out_height, out_width, out_zero;
    int16_t kernel_height, kernel_width, stride_height, stride_width;
    int16_t padding_height, padding_width, dilation_height, dilation_width;
    int16_t groups, low, high, other_zero;
    const int8_t *weight;   /* a row of kernel x channels for each output; depthwise: a row of channels for each tap;
                               of look_up: what each integer becomes, from -128 on */
    const int32_t *bias;    /* of convolutions with the zero of the input taken off; depthwise: as it is */
    const int32_t *factor;  /* for each output, times 2^-shift, what brings a sum to the scale of the output; of take:
                               for each channel of the output, that of the input */
    const uint8_t *shift;
} layer_t;

void entry(const uint8_t *pixels, const int8_t *table, int32_t count, int32_t channels, int8_t *y);
void conv(const layer_t *layer, const int8_t *x, int8_t *patch, int8_t *y);
void depthwise(const layer_t *layer, const int8_t *x, int8_t *y);
void max_pool(const layer_t *layer, const int8_t *x, int8_t *y);
void average_pool(const layer_t *layer, const int8_t *x, int8_t *y);
void mean(const layer_t *layer, const int8_t *x, int8_t *y);
void add(const layer_t *layer, const int8_t *a, const int8_t *b, int8_t *y);
void multiply(const layer_t *layer, const int8_t *a, const int8_t *b, int8_t *y);
void rescale(const layer_t *layer, const int8_t *x, int8_t *y);
void look_up(const layer_t *layer, const int8_t *x, int8_t *y);
void take(const layer_t *layer, const int8_t *x, int8_t *y);

#endif
