package tls

import (
	"math"
	"slices"
)

// SealedSize returns an upper bound of the bytes that Seal appends for n bytes: records of 16384 bytes with 22 bytes each around
// them, and the key updates that may be due. Handshake output that Output has not fetched is not counted. Any goroutine.
func (c *Conn) SealedSize(n int) int {
	records := (n + maxPlaintext - 1) / maxPlaintext
	updates := 2 + uint64(records)/c.end.config.RecordsPerKey
	return n + records*recordOverhead + int(updates)*keyUpdateLen
}

// Seal appends src to dst as records of at most 16384 bytes of plaintext each, behind a KeyUpdate that is due. Without src it
// appends that KeyUpdate alone. dst grows when its capacity is below len(dst)+SealedSize(len(src)); with enough capacity nothing
// is allocated. dst and src must not overlap.
//
// src is left as it was, and is not kept. With mutable the byte behind each record's part of src, as far as cap(src) reaches, is
// overwritten for the moment of the call and then restored: the content type must follow the plaintext for the AEAD to read both
// in one pass. Otherwise src is copied first. Errors: ErrFinished after Finish, the connection's error after a failure. Loop only.
// RFC 8446, 5.2.
func (c *Conn) Seal(dst, src []byte, mutable bool) (out []byte, err error) {
	if c.state != stateOpen && c.state != statePeerClosed {
		return dst, c.writable()
	}
	if c.hs != nil {
		dst = c.Output(dst)
	}
	if err := c.wake(&c.out); err != nil {
		return dst, err
	}
	if need := c.SealedSize(len(src)); cap(dst)-len(dst) < need {
		dst = slices.Grow(dst, need)
	}
	if len(src) == 0 && c.update != updateNone {
		return c.sealUpdate(dst)
	}
	for len(src) > 0 {
		if c.update != updateNone || c.out.seq >= c.end.config.RecordsPerKey {
			if dst, err = c.sealUpdate(dst); err != nil {
				return dst, err
			}
		}
		part := src[:min(len(src), maxPlaintext)]
		dst = c.sealPart(dst, part, mutable && cap(part) > len(part))
		src = src[len(part):]
	}
	return dst, nil
}

// sealPart appends one record. dst has room for it.
func (c *Conn) sealPart(dst, part []byte, through bool) []byte {
	n := len(part)
	at := len(dst)
	body := at + recordHeaderLen
	size := n + 1 + tagLen
	dst = append(dst, typeApplicationData, 3, 3, byte(size>>8), byte(size))
	work := c.out.cipher
	nonce := work.next(c.out.seq)
	c.out.seq++
	if through {
		inner := part[:n+1]
		saved := inner[n]
		inner[n] = typeApplicationData
		dst = work.aead.Seal(dst, nonce, inner, dst[at:body])
		inner[n] = saved
		return dst
	}
	dst = append(dst, part...)
	dst = append(dst, typeApplicationData)
	return work.aead.Seal(dst[:body], nonce, dst[body:], dst[at:body])
}

// sealUpdate appends a KeyUpdate and starts the next write epoch (RFC 8446, 4.6.3).
func (c *Conn) sealUpdate(dst []byte) ([]byte, error) {
	request := byte(0)
	if c.update == updateRequest {
		request = 1
		if c.asked < math.MaxUint8 {
			c.asked++
		}
	}
	c.update = updateNone
	dst = c.out.seal(dst, typeHandshake, []byte{messageKeyUpdate, 0, 0, 1, request})
	if err := c.out.update(c.agreed.suite); err != nil {
		return dst, c.fail(&Error{Alert: AlertInternalError, Detail: err.Error(), Err: err})
	}
	return dst, nil
}
