"""The mailbox between a VF and its PF: virtchnl messages, their codec and the per-connection session, and the sockets.

messages, codec and session are pure (bytes in, values out; standard library only); sockets is the one file with IO. The
guest's VF driver and the PF use the same codec. No policy here: the session knows what may be said, not what is granted.
"""
