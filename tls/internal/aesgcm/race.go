//go:build race

package aesgcm

import (
	"runtime"
	"unsafe"
)

// The race detector does not see what assembly touches. It is told: a frame that changes while it is sealed would be a race that
// no test finds.

// noteRead tells the race detector that b is read.
func noteRead(b []byte) {
	if len(b) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(b)), len(b))
	}
}

// noteWrite tells the race detector that b is written.
func noteWrite(b []byte) {
	if len(b) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(b)), len(b))
	}
}
