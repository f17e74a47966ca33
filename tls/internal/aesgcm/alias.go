package aesgcm

import "unsafe"

// anyOverlap reports whether a and b share a byte.
func anyOverlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	startA, startB := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return startA < startB+uintptr(len(b)) && startB < startA+uintptr(len(a))
}

// inexactOverlap reports whether a and b share a byte without starting at the same one.
func inexactOverlap(a, b []byte) bool {
	return anyOverlap(a, b) && &a[0] != &b[0]
}

// extend returns dst with n more bytes, and those bytes. It allocates only when the capacity does not suffice.
func extend(dst []byte, n int) (whole, added []byte) {
	total := len(dst) + n
	if total <= cap(dst) {
		whole = dst[:total]
	} else {
		whole = make([]byte, total)
		copy(whole, dst)
	}
	return whole, whole[len(dst):]
}
