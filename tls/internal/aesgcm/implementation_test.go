package aesgcm

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestParse: a name stands for its implementation, and a wrong one is refused with what is allowed.
func TestParse(t *testing.T) {
	for _, want := range append(Available(), Auto) {
		if i, err := ParseImplementation(want.String()); i != want || err != nil {
			t.Errorf("%v: %v, %v", want, i, err)
		}
	}
	for _, value := range []string{"", "AVX512", "sse", " go", "Implementation(7)"} {
		_, err := ParseImplementation(value)
		var e *ImplementationError
		if !errors.As(err, &e) || e.Value != value {
			t.Fatalf("%q: %v", value, err)
		}
		for _, part := range []string{value, "auto", "go"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not name %q", err, part)
			}
		}
	}
}

// TestUnsupported: what this process cannot run is refused by name and by value.
func TestUnsupported(t *testing.T) {
	var e *ImplementationError
	for i := AVX512; i < implementations; i++ {
		if slices.Contains(Available(), i) {
			continue
		}
		if _, err := ParseImplementation(i.String()); !errors.As(err, &e) {
			t.Errorf("%v: %v", i, err)
		}
		if _, err := New(make([]byte, 16), i); !errors.As(err, &e) {
			t.Errorf("%v: %v", i, err)
		}
	}
	if _, err := New(make([]byte, 16), implementations); !errors.As(err, &e) {
		t.Errorf("a value that does not exist: %v", err)
	}
	if !Go.supported() || Auto.supported() {
		t.Error("Go must always be there, and Auto is none")
	}
}

// expected names what Default must be, for a process that another test starts: TestFewerInstructions, TestOtherProcessors.
const expected = "RON_TEST_EXPECTED"

// TestDefault: Auto makes what Default names.
func TestDefault(t *testing.T) {
	if name := os.Getenv(expected); name != "" && Default().String() != name {
		t.Errorf("%v, want %s", Default(), name)
	}
	a, err := New(make([]byte, 32), Auto)
	if err != nil || a.Implementation() != Default() {
		t.Fatalf("%v instead of %v, %v", a.Implementation(), Default(), err)
	}
}
