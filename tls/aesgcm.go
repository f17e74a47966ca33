package tls

import (
	"crypto/fips140"
	"errors"
	"fmt"
	"strings"

	"github.com/ron-transport/ron-transport/tls/internal/aesgcm"
)

// AESGCM says which implementation of AES-GCM protects the records of AES's suites. All of them make the same bytes; they differ in
// speed. ChaCha20-Poly1305 has one implementation, which this does not concern.
type AESGCM uint8

const (
	// AESGCMAuto is the fastest that the processor and the operating system allow, or Go's when GODEBUG has fips140=on: the others
	// are not validated modules.
	AESGCMAuto AESGCM = iota
	// AESGCMAVX512 works on registers of 512 bits (AVX-512 with VAES and VPCLMULQDQ).
	AESGCMAVX512
	// AESGCMAVX2 works on registers of 256 bits (AVX2 with VAES and VPCLMULQDQ).
	AESGCMAVX2
	// AESGCMGo is crypto/cipher's, which is there always.
	AESGCMGo
)

// String returns the name that ParseAESGCM takes. Any goroutine.
func (a AESGCM) String() string {
	if i := a.implementation(); i.Known() {
		return i.String()
	}
	return fmt.Sprintf("AESGCM(%d)", uint8(a))
}

// implementation is a as the package with the assembly has it. A test holds that the values agree.
func (a AESGCM) implementation() aesgcm.Implementation { return aesgcm.Implementation(a) }

// ParseAESGCM finds an implementation by its name: auto, avx512, avx2 or go. The error names the value, also when it exists and this
// process cannot run it, and what is allowed here. Any goroutine.
func ParseAESGCM(name string) (AESGCM, error) {
	i, err := aesgcm.ParseImplementation(name)
	if e, ok := errors.AsType[*aesgcm.ImplementationError](err); ok {
		return AESGCMAuto, fmt.Errorf("tls: AES-GCM implementation is %q; allowed here: %s", e.Value, strings.Join(e.Allowed, ", "))
	}
	return AESGCM(i), err
}

// Resolve returns what a stands for in this process; never AESGCMAuto. An error names what is allowed here. Any goroutine.
func (a AESGCM) Resolve() (AESGCM, error) {
	if a == AESGCMAuto {
		if fips140.Enabled() {
			return AESGCMGo, nil
		}
		return AESGCM(aesgcm.Default()), nil
	}
	return ParseAESGCM(a.String())
}
