//go:build !unix

package bench

import "errors"

// ownCost is what this process has cost so far.
func ownCost() (cost, error) {
	return cost{}, errors.New("bench: the CPU time of a process can only be measured on Unix")
}
