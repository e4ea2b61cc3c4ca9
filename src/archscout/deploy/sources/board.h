/* What the board of QEMU measures: see board.c. */
#ifndef BOARD_H
#define BOARD_H

void board_start(void);
void board_stop(void);
void board_report(int differ);

#endif
