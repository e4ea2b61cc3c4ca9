/* Runs the network on inputs whose outputs are known, and tells how many bytes differ. */
#include "model.h"
#include "vectors.h"

#ifdef BARE_METAL
#include "board.h"
#else
#include <stdio.h>
#endif

int main(void) {
    int differ = 0;
    for (int i = 0; i < VECTORS; i++) {
#ifdef BARE_METAL
        board_start();
#endif
        const int8_t *y = model_run(inputs[i]);
#ifdef BARE_METAL
        board_stop();
#endif
        for (int k = 0; k < MODEL_OUTPUT_SIZE; k++) differ += y[k] != outputs[i][k];
    }
#ifdef BARE_METAL
    board_report(differ);
#else
    printf("differ %d\n", differ);
#endif
    return differ != 0;
}
