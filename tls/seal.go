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
// src is left as it was, and is not kept. With AESGCMAVX512 or AESGCMAVX2 it is read where it is. Other AEADs must find the content type
// behind the plaintext to read both in one pass: with mutable the byte behind each record's part of src, as far as cap(src) reaches, is
// overwritten for the moment of the call and then restored; otherwise src is copied first. Errors: ErrFinished after Finish, the
// connection's error after a failure. Loop only.
// RFC 8446, 5.2.
func (c *Conn) Seal(dst, src []byte, mutable bool) (out []byte, err error) {
	if dst, err = c.sealReady(dst, len(src)); err != nil {
		return dst, err
	}
	if len(src) == 0 && c.update != updateNone {
		return c.sealUpdate(dst)
	}
	for len(src) > 0 {
		if dst, err = c.sealDue(dst); err != nil {
			return dst, err
		}
		part := src[:min(len(src), maxPlaintext)]
		dst = c.sealPart(dst, part, mutable && cap(part) > len(part))
		src = src[len(part):]
	}
	return dst, nil
}

// SealHead does what Seal does for head and body joined, without joining them first where the AEAD allows it: AESGCMAVX512 does for a
// head of 1 to 64 bytes (a frame's header) before the body (its payload). Both together are for one record, 16384 bytes at most;
// of more, head and body go out as records of their own. dst grows as with Seal; SealedSize of both lengths together is enough for one
// record. Neither head nor body may overlap dst; both are left as they were and not kept. Errors: as Seal. Loop only. RFC 8446, 5.2.
func (c *Conn) SealHead(dst, head, body []byte) (out []byte, err error) {
	if len(head) == 0 || len(body) == 0 || len(head)+len(body) > maxPlaintext {
		if len(head) > 0 {
			if dst, err = c.Seal(dst, head, false); err != nil {
				return dst, err
			}
		}
		return c.Seal(dst, body, false)
	}
	n := len(head) + len(body)
	if dst, err = c.sealReady(dst, n); err != nil {
		return dst, err
	}
	if dst, err = c.sealDue(dst); err != nil {
		return dst, err
	}
	dst, at, nonce := c.beginRecord(dst, n)
	if work := c.out.cipher; work.gcm != nil {
		parts := [2][]byte{head, body}
		return work.gcm.SealVec(dst, nonce, dst[at:], parts[:], typeApplicationData), nil
	}
	dst = append(dst, head...)
	dst = append(dst, body...)
	return c.sealInPlace(dst, at, nonce), nil
}

// sealReady makes an open connection and dst ready for n bytes of data.
func (c *Conn) sealReady(dst []byte, n int) ([]byte, error) {
	if c.state != stateOpen && c.state != statePeerClosed {
		return dst, c.writable()
	}
	if c.hs != nil {
		dst = c.Output(dst)
	}
	if err := c.wake(&c.out); err != nil {
		return dst, err
	}
	if need := c.SealedSize(n); cap(dst)-len(dst) < need {
		dst = slices.Grow(dst, need)
	}
	return dst, nil
}

// sealDue appends the KeyUpdate that is due before the next record, if one is.
func (c *Conn) sealDue(dst []byte) ([]byte, error) {
	if c.update == updateNone && c.out.seq < c.end.config.RecordsPerKey {
		return dst, nil
	}
	return c.sealUpdate(dst)
}

// beginRecord appends the header of a record with n bytes of data. at is where it begins; it is the additional data.
func (c *Conn) beginRecord(dst []byte, n int) (out []byte, at int, nonce []byte) {
	at = len(dst)
	size := n + 1 + tagLen
	dst = append(dst, typeApplicationData, 3, 3, byte(size>>8), byte(size))
	nonce = c.out.cipher.next(c.out.seq)
	c.out.seq++
	return dst, at, nonce
}

// sealInPlace ends the record that begins at at, whose data is in dst.
func (c *Conn) sealInPlace(dst []byte, at int, nonce []byte) []byte {
	dst = append(dst, typeApplicationData)
	body := at + recordHeaderLen
	return c.out.cipher.aead.Seal(dst[:body], nonce, dst[body:], dst[at:body])
}

// sealPart appends one record. dst has room for it.
func (c *Conn) sealPart(dst, part []byte, through bool) []byte {
	n := len(part)
	dst, at, nonce := c.beginRecord(dst, n)
	work := c.out.cipher
	if work.gcm != nil {
		parts := [1][]byte{part}
		return work.gcm.SealVec(dst, nonce, dst[at:], parts[:], typeApplicationData)
	}
	if through {
		inner := part[:n+1]
		saved := inner[n]
		inner[n] = typeApplicationData
		dst = work.aead.Seal(dst, nonce, inner, dst[at:])
		inner[n] = saved
		return dst
	}
	return c.sealInPlace(append(dst, part...), at, nonce)
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
