package pool

import "math/bits"

// classOf returns the index of the smallest class that holds n bytes, or -1 when n exceeds the largest.
func classOf(n int) int {
	switch {
	case n <= minClass:
		return 0
	case n > maxClass:
		return -1
	}
	k := bits.Len(uint(n - 1)) // 2^(k-1) < n <= 2^k
	if n <= 3<<(k-2) {
		return 2*(k-1-minShift) + 1
	}
	return 2 * (k - minShift)
}

// classBytes returns the capacity of class c: 2^k for even indexes, 1.5 × 2^k for odd ones.
func classBytes(c int) int {
	if c&1 == 1 {
		return 3 << (minShift - 1 + c/2)
	}
	return minClass << (c / 2)
}

// ClassSize returns the capacity, in bytes, of the buffer that Get(n) gives: the size of the smallest class that holds
// n, or n itself above the largest class (1.5 MiB). Any goroutine.
func ClassSize(n int) int {
	c := classOf(n)
	if c < 0 {
		return n
	}
	return classBytes(c)
}
