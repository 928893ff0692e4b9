// Package process runs programs that tests and benchmarks kill, freeze and wait for, and keeps what
// they print. On Linux such a program dies with the one that started it.
package process
