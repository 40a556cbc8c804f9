"""Opus packets (RFC 6716) of eight notes, and melodies made of them.

Each note was encoded by itself with libopus (ffmpeg 5.1), for f = 262, 294, 330, 392, 440, 523, 587, 659
Hz, as mono in CELT mode at a constant 24 kbit/s, and the packets of the resulting Ogg files were put
together:

    ffmpeg -f lavfi -i "aevalsrc='0.5*sin(2*PI*f*t)*sin(PI*min(t/0.155,1))':s=48000:d=0.1575" \\
        -c:a libopus -application lowdelay -vbr off -b:a 24k -frame_duration 20 note.ogg

A note starts from an encoder's fresh state and swells from silence and back, so notes may follow each other
in any order.
"""

from __future__ import annotations

import base64
import random
from typing import Final

SAMPLE_RATE: Final = 48_000
PACKET_MS: Final = 20
PRE_SKIP_SAMPLES: Final = 120
"""What libopus says it is behind by in low-delay mode; a decoder drops as many samples."""

_PACKET_BYTES: Final = 60
_NOTE_PACKETS: Final = 8
_NOTES_BASE64: Final = """
    +Mo9PFbl/C+Qs3J+k1YQdWTGdkvozwgH3HUPzI2T5FrPqVP3GEnrixJq3kDE4JAsyfw/7WDeAvbvYPs2+MXFHExbFDD42GrSktDz
    mjZuXUQR7PES3mMncTe7uMgxNdjGHIHQEZfdq+7dN7+1w7oLN7qSuLlG7gs4+MX3CagEy2b8DlbP8NHVpq4FBLZIjDplnCn4b+BW
    9CwwNZZuM7ttwfRVk8yvUH1QarHbkM+q3Uxsjuc4+MFFsvjc05ZTcIGp8YqW320M2+UTpATPxs+pBogi3pIFRLByRURyH+yEZdel
    MBt4E118CYes2W2s2WM4+MR3FaPYWqfGqGno/N6zN7yaDuA5Sg8Ku+hXViTuB40H9M8SzfPPV3QtWAsj+ZY71gwxDN2CWnX46S84
    +MMMSqJ4d09pyrJ+pGjaUnEVQVkIMWLQPG/CTZpszDmeNKHYgC4r8CHBIv/dzn3j6bv/zBUrF04gPp85+MD7iTQur3S+PnCx8ulK
    4fh+GmIkVZ5l8+M9RaihA3GYTyO+w5nlGxvoo/ZRJrWISGm3CDoCmVULMGM4+MnMr+zIt+CTllG8HfnVZcodwi2yby+b5XazZzVY
    OSEZsjl+RkqIP+iBnlUBJY3dXyB34fgiRgyZC0I4+Mo9PBNS/BbPyJ3NdqYRbRUreVqZS2p1bmc/zrI9mQ1mjhwcWFhio2JHOLd2
    1KWq0LF7pNsPsBUSZzsi+MMMnU1QU+eUNtrtBNG7obEZuNfX8qbxy/hbvyMuAegLKxPHJAb0iSEwkYAUXpBcwJs6FgyhzpFtbW8k
    +MFHMwiXSMFrieCN/r+fFh8iHzFgvIa7bwDBWaxarhV6DMXiAjvht2eeapdveLSgnCwTtpqwuTgOi6Mk+ME4q5uCKPWckE5Yrj76
    lAnXH2WmT02wn/2bw19azChm+lIGNa4Lgz9q8Yxbc8g8YTonnviGL1lyKlck+ME+ieRBOcxxCs/6e/D173RQzmsU184cqFAjiv4c
    /yQ1INdwHfb4N3dscdgqAzz4wnFnw29WJ1EnKScl+MD7eJw3TO39+3IAtquWqCd5N1jSIhNysFLQ0WgNntuDf+46og5xfd6aZbqn
    x22tYBQDIdXqeK5+Zs8k+MMOmNW8+iNg10E/3aTXS3GAZxT09YtHAFjxtrOhcqIKVint8GagnOmKxvXpqsMkFOnBzDhjvLG62A8k
    +MnfDWUHYgYY7Zs8Hzr6atOR8Zb1HelGlFHcNIthc/NkvakqcDkDBvFuUJHrOe4NVnWjpGkcPdO8euok+MoDZ5wADuow43NXE5Oy
    l0OLXOksLvJSBzYGlUr0+FHrVx7kF2itQhvlTv8yPEBkvPtrTXd6xPUjflsS+MMMozl9y2oQlTQh0E2ynm639WePM5XesM4Qwvp4
    xkewV26QG7fF92XQJO8dszzFRcTGJeQqa9x99NsS+ME7JewAKtrlVww7ZRlErqixjosQp96sy4yK7tRHd9mZhdAqAByzCwTzVpVt
    3reM04XMAsui/JWHiv8T+ME+iiOSxLO2ICJvp2gE8in4I9B5uxJ9y3QHzckKcw6RSfCJEGjYbNtv2BzC8OO3F8R6HQPe/KJvYpcS
    +MMZwLtWCOkcvHX4huJ7nD/R+Vu0Ff3PGRAbq0JBx+2hCTroGdDVvvn30hE9FKt6oMMHW4Nxy/QPQBMS+ML6GPdQ1TJSkrVHxkUf
    GfCBzH3Z3DXcoVtED1RR176GTlBw/sgwc6SCd5bM+6+lPs6m7naj/KbGhWMT+MD75TXw6reRI9LAMMJP30YK0m30yCIKrin3oJvU
    XPOB5X2HMrNZBitlxz9zB/BeY6WHn6tlfRXhOQcT+MnMr4pgDIWxfx/ApA8G120hfkdUKrXBlpc7tVGRCy6aaJuFxcGpzVCr8wwi
    y9rA0zKCAtgn4kfP1I6S+LQvHIeSzXHgohC9d6Idqc/Z59wHjpLKXZbpjQZcNOcF3O9EViXjP1o3wt2CSyZ5ZrMArEuaydC1sq27
    +LBuJKtwoMaB2FyxoZzdHVyqfWiHsggi+M5tMZ9KVp0Of4UNxGEe43Ods+YO32kRmNE5y6d6SrqDbVW7+KvG3ePSCoTgiNIZ4QgN
    J/kd9Xaxgy9Kh5crGSlNE56Zzz9TkZsEYTfHftveXi5bZO+ZKl7lstnwipe7+Kvl3+uZpz/nGaUoBJuPvfObMHwgkYb+N6LBxazl
    KiHarKtHCIzL7wQOrcnl/JSJz8OENMTyta47VeW8+K3FLSEAz8u839bbLtj2DevyEJW7eZUKKUWSUmknWiz/kSZ34Az7AtUVDO/K
    0vzonUNYgVykqrOORKe7+K1/AxMibnobnsmE9oMFz9FgINDpIkTI6QcJqqdmum7rGB66lMAkXFJlO9ay8XOXX/i1DHFgfKXlm/27
    +LBn+yqjkdDS9nDGYnEQABcMI2TdaasDJnTPqKmzijIRRYqjkQr8WEIowaw13Yo2ecM05RlILrMPkuO8+LQinVTS2tUnd+nZgMzH
    XNVcH3e7nztEbJrv4Qaa+1MkFJci2wDqr4Nw+S8xXEVNWsaz2+k0SPvwg3V7+LRw+uc5FZZAQA7MQ05Dar1QNSw4o8vdIkTWuq/v
    XwN6VFPMaY38s3kgPubr1ARQeLVC6LffcJ8GU8us+LBNyA/pGX2KosuoUAT6vVZU+mP2VukJYzeaKDwcAjZVcmKzFcNY4EbhNaS1
    +Cmo9dB5g2c7OquBun+u+Ku5zIrZwzxZTzdbbgg0ui2fwmotS/r5W6hXbMIx6dzCkSEvR7AeTc5B9++TVIuh4zVUItN5X0vxPFWu
    +K2AaPFIsTtwy9hhxZGYurm7T+u3vVXCidTOIzqdVxzGNNLFzOjddBxA/azTqnG/8fo6FhDjmVly9HGu+Ku5zPH0rPTXHrhQUEa6
    JLPgryMOepRnL5zjYJ2u2PdVgC9VXyabUboNNu2+dRQp7WGvgmfWXGa68oOu+Kys3WAUVYZSEZUJxmsdIvyE8PapGP2MGEQd3pwC
    85TsO5JXD3X1uJdKlOogn0BjQxqhzKBYFpfxYS2u+K2iyrCeIcnx6IR2nFKz2ox0LLNF8DcLzf1ilJFVLbqAsbZOdFE4LAsayqdU
    LBZ+zlpwCmst10AnFAmu+LTQhwP1ruLLdEhNPK2Ij/I6Nn697HnedZGjn4K8rPQ3YCP87WZ8+lYSbA/s3xJ/+F/n/XRgg9QqKpOv
    +LUx8MlKlPh+qvcoYN2MURg3NdVzJFmDuhTafBMiVIbu4xTHXfaF6qMhKqgj77UhYisZRaaziK1QBZ+c+K/qbmX3D2+uInLUjjKL
    Gl/33dvAPVUnQCyHHvfmGFA8s0WC5diadEVkqvF8Oldt41ZzAh0ELXJ3X/Gd+K1+7OZpptOwZo2ngWPhsTq6Oj4lTM7Bc8y5e+y+
    1Z/+6AB9YwE++TzkGhgJrWzZsANWIvPxdZze2fWd+K1+7OZlfhXnVuJ4zloHw/vo9qSeJTDIj5E1y29krkbyEtkVIv3DJNvYnnWa
    81rHu37LycPa2ZK/zimd+K1+7RKaJgOwByE4N12OX/r7F7TXp4JB2ahDlpfRWMb5mukBCjl8IUH4WDnPHy/WZvFv9om9rLC7OZWd
    +LBNJKq61VLVdKSMhaQGYgx/V12xeLA44ss+stFgANcGsLug8wiTBV8La+LhckdxJ1TFvqqgsVtx+7ed+LBNyANln7FgdPPzycmD
    zkVygvRvWnHN1HMk0M0i8CgHi2gPDwXZ1HXtf5A1iszjvjn8k6cON7dvmIWd+LQg+br/N9fDxAUGN1DqsZRWp3bRHX/uni6Izohs
    52pWOUko+Y65AzATh2dh8DzaS7GeWpYFmIOhgRmd+LU8RJCfzhg7hMTqecx30b4tJkGP7GevIvP7tX03BaF9QiM74VlCSwpJncJm
    mhv6tnBiqQFyQHkqy12T+K/qpRh/51LvZypFBow+tKqScPT23QzyR7kaZspxz+MIRQc6iSdZp9jdRsWzSr1QycUxx83JfUD8LZeT
    +LBpP4S/oJkjkLdR2khYXgdTcltBMocQurrhDPknb8c///Ueec0zXPFHhy2Tti3j9IGy1ZXgXrnIBp2T+KysXSUsWGJ4SHiHdz5Q
    yeuDrLHfMFhs/z+5BM8eUoOa/XSjsH2enUdWXbnkOZ3b+a6iopu7mxoorfGT+K2AS+MYZCcUOrWiG/PbaqQ2xJ41s2dajS8QpePZ
    qfRa19gQYnOxqOd3/mhisVVkB2Euaue7rVUfYUOT+K0X5Ts4eojTyyYb9gtvHAQLNjD+m2eZAlRvyOzP4q3tmvOiHXU25nP9PN3m
    wVDPdnzmnWCCGvU7AoGT+LBKXgw3VSc93656/zhyedbAAJrSHKIkJjAovmfcjaX8NsmdLmwOnP+CvHhOdi7e6kLrez4l2sLu39GT
    +LQcLXd2tS0nFx+j/CMt3wHovdxG4ZxkkN3CTvq1BOCgsurrDwdFeKX1a8fWb0zA94x/3lG6bdeWXZWT+LU5zdzsc5hxujMwdjVH
    qlZtIb95aaAjriI2MJn44oSvYseYT+zLAhiF/nSAk2lIE2xa+9elRul7aHmI+LGgBNDvTPFlPPLELfJFCsw3VOnG1fX43l+J/Gux
    tqXt7MALg0Exg+2lPXEwwh3dSmbhDTakrdJocu2K+KybXCc9jT3XqOs4yINx4yBvTtR74lwxlMQZiGjqxooDkjre40JU2e8ENhqE
    s+m3UpOr4uliMpCR9s2K+K2AB7+MHxM1ZJdUNnmcl4QWTK+/8K8SPYK+i+a9G3Xouo+IwmxytkVz3DUpcuIRc4PcyKRonrm5JSeK
    +K/iqy3d+frCMbim9gCVT/nlOgNcWYOh/4FZ6huyMUvD6QfdtwUDgz8bLsJtqbxe3VuXxp4Zzs7on/uK+LBOQn0q+X5P5UgwoBCX
    pyj6iAP862SmAb2hKtGBCAZ5U00QAP9ot6dxfayHDBAvY3QiU8aQ+uNnQNuK+LBIjCJs31sJe+owreSBPEJphFsO598EK2Y8Haxh
    +SgC/mZC8V3lScJwFBbrIKDkVpfUnlf69suVmtWK+LRX3froTV2Ys3F2MPd/2e+gt/HWOJ0GOxYMDnWol+MKfaSn7davkd2Tnc4/
    fq4vfp9HiKQKQqhVINOI
"""


def identification_header() -> bytes:
    """`OpusHead` (RFC 7845, 5.1): version 1, mono, no gain, channel mapping 0."""
    return b"".join(
        (
            b"OpusHead\x01\x01",
            PRE_SKIP_SAMPLES.to_bytes(2, "little"),
            SAMPLE_RATE.to_bytes(4, "little"),
            bytes(3),
        )
    )


def melody(rng: random.Random, packet_count: int) -> list[bytes]:
    """`packet_count` packets of `PACKET_MS` each: notes drawn by `rng`, the last cut where the count ends."""
    notes = _notes()
    packets: list[bytes] = []
    while len(packets) < packet_count:
        packets += notes[int(rng.random() * len(notes))]
    return packets[:packet_count]


def _notes() -> list[list[bytes]]:
    everything = base64.b64decode(_NOTES_BASE64)
    note_bytes = _PACKET_BYTES * _NOTE_PACKETS
    return [
        [everything[at : at + _PACKET_BYTES] for at in range(start, start + note_bytes, _PACKET_BYTES)]
        for start in range(0, len(everything), note_bytes)
    ]
