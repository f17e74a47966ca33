package aesgcm

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// Environment is the variable that chooses the implementation for the whole process: auto, avx512, avx2 or go.
const Environment = "RON_TRANSPORT_AESGCM"

// Implementation is one way to compute AES-GCM.
type Implementation uint8

const (
	// Auto stands for the one that Default names.
	Auto Implementation = iota
	// AVX512 works on four blocks per register. It needs VAES, VPCLMULQDQ, BMI2, AVX-512 F, BW, DQ and VL, and an operating system
	// that keeps the ZMM and mask registers.
	AVX512
	// AVX2 works on two blocks per register. It needs VAES, VPCLMULQDQ and AVX2, and an operating system that keeps the YMM registers.
	AVX2
	// Go is crypto/cipher. It works everywhere, and is the only one with the build tag purego.
	Go

	implementations
)

// String returns the name that ParseImplementation takes. Any goroutine.
func (i Implementation) String() string {
	switch i {
	case Auto:
		return "auto"
	case AVX512:
		return "avx512"
	case AVX2:
		return "avx2"
	case Go:
		return "go"
	}
	return fmt.Sprintf("Implementation(%d)", uint8(i))
}

// ImplementationError says that an implementation was asked for by a name that does not exist, or that this CPU, operating system or
// build cannot run.
type ImplementationError struct {
	Field   string   // where the value came from: "implementation", or the environment variable
	Value   string   // as given
	Allowed []string // what this process can use
}

// Error names the field, its value and what is allowed. Any goroutine.
func (e *ImplementationError) Error() string {
	return fmt.Sprintf("aesgcm: %s is %q, which is unknown or not supported here; allowed: %s", e.Field, e.Value, strings.Join(e.Allowed, ", "))
}

// Available lists what this CPU, operating system and build can run, fastest first; Go is always among them. Any goroutine.
func Available() []Implementation {
	var all []Implementation
	for i := AVX512; i < implementations; i++ {
		if i.supported() {
			all = append(all, i)
		}
	}
	return all
}

// supported reports whether New can make i.
func (i Implementation) supported() bool {
	switch i {
	case AVX512:
		return detected().avx512
	case AVX2:
		return detected().avx2
	}
	return i == Go
}

// ParseImplementation finds an implementation by its name: auto, avx512, avx2 or go. The error is an *ImplementationError, also for
// one that exists but that this process cannot run. Any goroutine.
func ParseImplementation(name string) (Implementation, error) { return parse("implementation", name) }

func parse(field, name string) (Implementation, error) {
	allowed := []string{Auto.String()}
	if name == Auto.String() {
		return Auto, nil
	}
	for _, i := range Available() {
		if i.String() == name {
			return i, nil
		}
		allowed = append(allowed, i.String())
	}
	return Auto, &ImplementationError{Field: field, Value: name, Allowed: allowed}
}

// Default returns what Auto stands for: what the environment variable says, which is read once, or the fastest of Available. With an
// invalid variable it returns that fastest one and an *ImplementationError, for whoever checks the configuration; New returns the
// error too. Any goroutine.
func Default() (Implementation, error) { return fromEnvironment() }

var fromEnvironment = sync.OnceValues(func() (Implementation, error) { return choose(os.Getenv(Environment)) })

// choose is Default for a value of the environment variable; empty stands for auto.
func choose(value string) (Implementation, error) {
	best := Available()[0]
	if value == "" {
		return best, nil
	}
	i, err := parse(Environment, value)
	if i == Auto {
		i = best
	}
	return i, err
}

// features is what the processor and the operating system offer.
type features struct{ avx512, avx2 bool }

var detected = sync.OnceValue(detect)
