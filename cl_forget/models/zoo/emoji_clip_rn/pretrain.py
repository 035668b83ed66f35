"""The recipe of emoji-clip-rn: the one of emoji-clip's pictures and captions, with open_clip's ResNet.

cl-forget pretrain emoji-clip-rn --output folder            # the shipped recipe
cl-forget pretrain emoji-clip-rn --output folder --quick    # the same path in under a minute, for tests
"""

import functools

from cl_forget.models.zoo.emoji_clip.pretrain import pretrain_tower

#: As `pretrain` of emoji-clip.
pretrain = functools.partial(pretrain_tower, "rn")
