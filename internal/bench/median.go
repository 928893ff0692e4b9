package bench

import "slices"

// median of the values; 0 of none. Of an even number it is the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// medianOf is the median of a figure over runs. known is false if a run does not have it.
func medianOf[T any](runs []T, figure func(T) *float64) *float64 {
	values := make([]float64, 0, len(runs))
	for _, r := range runs {
		v := figure(r)
		if v == nil {
			return nil
		}
		values = append(values, *v)
	}
	if len(values) == 0 {
		return nil
	}
	m := median(values)
	return &m
}
