"""Effects, each with its undo: intent to the store, the inventory to the maps, programs on devices, pairs, uplinks; and what all
of the PF shares.

Knows no verb. For the rooms above it, and the api."""
